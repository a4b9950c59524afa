//! Any bytes on the control socket: lines do not depend on how the stream is cut, no line panics, a
//! request that is read is read again from what is written, and a refusal can be answered.

#![no_main]

use std::io::{self, Read};

use api::codec::{Asked, Rejected, decode_answer, decode_request, encode_reply, encode_request};
use api::{LineError, LineReader};
use libfuzzer_sys::fuzz_target;

/// The longest line, short enough to be met.
const LIMIT: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let (lengths, stream) = bytes.split_at(bytes.len().min(8));
    let whole = lines(stream);
    // The first bytes say how the stream is cut.
    let cut = lines(Pieces { stream, lengths: lengths.iter().cycle() });
    assert_eq!(cut, whole);
    for line in whole.iter().flatten() {
        as_request(line);
        let _ = decode_answer(line);
    }
});

/// All lines, each with what was wrong with it, up to the end of the stream.
fn lines(stream: impl Read) -> Vec<Result<String, String>> {
    let mut reader = LineReader::with_limit(stream, LIMIT);
    let mut lines = Vec::new();
    loop {
        match reader.read_line() {
            Ok(Some(line)) => lines.push(Ok(line.to_owned())),
            Ok(None) => return lines,
            Err(LineError::NotUtf8 { at }) => lines.push(Err(format!("byte {at}"))),
            Err(error) => {
                lines.push(Err(error.to_string()));
                return lines;
            }
        }
    }
}

/// A stream that comes in pieces of these lengths.
struct Pieces<'a> {
    stream: &'a [u8],
    lengths: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.lengths.next().map_or(1, |len| usize::from(*len).max(1));
        self.stream.by_ref().take(len as u64).read(into)
    }
}

fn as_request(line: &str) {
    match decode_request(line) {
        Ok(Asked { request, .. }) => {
            let written = encode_request(7, &request).expect("what was read can be written");
            let again = decode_request(written.trim_end()).map(|asked| asked.request);
            assert_eq!(again.as_ref(), Ok(&request), "by way of `{written}`");
        }
        Err(Rejected { id: Some(id), failure }) => {
            let answer = encode_reply(&id, &Err(failure)).expect("a refusal can be written");
            assert_eq!(answer.matches('\n').count(), 1, "`{answer}` is one line");
            assert!(decode_answer(answer.trim_end()).is_ok(), "`{answer}` can be read");
        }
        Err(Rejected { id: None, .. }) => {}
    }
}
