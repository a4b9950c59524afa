//! Lines out of a stream of bytes, in bounded memory.

use std::io::{self, Read};

use crate::codec::MAX_LINE;

/// How many bytes are asked for at a time.
const CHUNK: usize = 64 << 10;

/// Reads a stream line by line. Memory is bounded by twice the longest line allowed, [`MAX_LINE`],
/// and falls again behind a long one.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the line begins that is read next.
    start: usize,
    /// Up to where there is no newline.
    searched: usize,
    limit: usize,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is too long. The connection is of no use any more: nobody knows where the next line
    /// begins, and every further call answers the same.
    #[error("a line has more than {limit} bytes")]
    TooLong {
        /// The most bytes it may have.
        limit: usize,
    },
    /// The line is no UTF-8. The next one can be read.
    #[error("a line is no UTF-8: byte {at} is wrong")]
    NotUtf8 {
        /// The first byte that is wrong.
        at: usize,
    },
    /// The stream ended within a line, which is lost: half a request must not be carried out.
    #[error("the connection ended within a line")]
    HalfLine,
    /// The stream failed, or has nothing to say for now. Nothing is lost: what has been read of a
    /// line is still there for the next call.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<R: Read> LineReader<R> {
    /// Reads lines of at most [`MAX_LINE`] bytes.
    pub const fn new(source: R) -> Self {
        Self::with_limit(source, MAX_LINE)
    }

    /// Reads lines of at most `limit` bytes, their newlines aside.
    pub const fn with_limit(source: R, limit: usize) -> Self {
        Self { source, buffer: Vec::new(), start: 0, searched: 0, limit }
    }

    /// The stream.
    pub const fn source(&self) -> &R {
        &self.source
    }

    /// Bytes that are held for what has been read.
    pub const fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next line without its newline; `None` at the end of the stream. Blank lines are skipped.
    pub fn read_line(&mut self) -> Result<Option<&str>, LineError> {
        loop {
            let unsearched = &self.buffer[self.searched..];
            let newline = memchr::memchr(b'\n', unsearched);
            let end = newline.map_or(self.buffer.len(), |newline| self.searched + newline);
            if end - self.start > self.limit {
                self.searched = end;
                return Err(LineError::TooLong { limit: self.limit });
            }
            if newline.is_none() {
                self.searched = end;
                if self.fill()? {
                    continue;
                }
                return if self.buffer.is_empty() { Ok(None) } else { Err(LineError::HalfLine) };
            }
            let line = self.start..end;
            (self.start, self.searched) = (end + 1, end + 1);
            if !self.buffer[line.clone()].trim_ascii().is_empty() {
                let line = std::str::from_utf8(&self.buffer[line]);
                return line.map(Some).map_err(|e| LineError::NotUtf8 { at: e.valid_up_to() });
            }
        }
    }

    /// Reads on; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, LineError> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() < CHUNK {
            self.buffer.shrink_to(2 * CHUNK);
        }
        let used = self.buffer.len();
        self.buffer.resize(used + CHUNK, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[used..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(used + read.as_ref().map_or(0, |read| *read));
        Ok(read? > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Gives its pieces one by one, and between them says that there is nothing for now.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.front_mut() else { return Ok(0) };
            if piece.is_empty() {
                self.0.pop_front();
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = piece.len().min(into.len());
            into[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            Ok(count)
        }
    }

    /// Everything that is read up to the end or to the first error that ends a connection.
    fn read_all(mut reader: LineReader<Pieces>) -> Vec<Result<String, String>> {
        let mut lines = Vec::new();
        loop {
            match reader.read_line() {
                Ok(Some(line)) => lines.push(Ok(line.to_owned())),
                Ok(None) => return lines,
                Err(LineError::Io(_)) => {}
                Err(LineError::NotUtf8 { at }) => lines.push(Err(format!("byte {at}"))),
                Err(error) => {
                    lines.push(Err(error.to_string()));
                    return lines;
                }
            }
        }
    }

    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Result<String, String>> {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        read_all(LineReader::with_limit(Pieces(pieces), limit))
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let expected = vec![Ok("one".to_owned()), Ok("two".to_owned())];
        assert_eq!(lines(&[b"one\ntwo\n"], 10), expected);
        assert_eq!(lines(&[b"o", b"n", b"e\nt", b"wo", b"\n"], 10), expected);
        assert_eq!(lines(&[b"\n \r\none\n\ntwo\n\t\n"], 10), expected);
        assert_eq!(lines(&[], 10), vec![]);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let half = vec![Ok("one".to_owned()), Err("the connection ended within a line".to_owned())];
        assert_eq!(lines(&[b"one\ntw"], 10), half);
        let long =
            vec![Ok("0123456789".to_owned()), Err("a line has more than 10 bytes".to_owned())];
        assert_eq!(lines(&[b"0123456789\n0123456789x"], 10), long);
        assert_eq!(lines(&[b"0123456789\n01234", b"56789x\nok\n"], 10), long);
        let bytes = vec![Err("byte 1".to_owned()), Ok("two".to_owned())];
        assert_eq!(lines(&[b"o\xffe\ntwo\n"], 10), bytes);
    }

    #[test]
    fn a_line_that_never_ends_takes_bounded_memory() {
        let mut reader = LineReader::with_limit(io::repeat(b'x'), 1 << 20);
        for _ in 0..3 {
            assert!(matches!(reader.read_line(), Err(LineError::TooLong { limit: 0x10_0000 })));
            assert!(reader.buffer.capacity() <= 4 << 20, "{}", reader.buffer.capacity());
        }
    }

    #[test]
    fn memory_falls_behind_a_long_line() {
        let long = [vec![b'x'; 8 << 20], b"\n".to_vec()].concat();
        let stream = io::Cursor::new([long, b"short\n".repeat(100_000)].concat());
        let mut reader = LineReader::new(stream);
        let mut count = 0;
        while reader.read_line().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 100_001);
        assert!(reader.buffer.capacity() <= 4 * CHUNK, "{}", reader.buffer.capacity());
    }

    proptest! {
        #[test]
        fn nothing_depends_on_where_the_stream_is_cut(
            bytes in vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..200),
            cuts in vec(1..20usize, 1..30),
        ) {
            let mut pieces = VecDeque::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                pieces.push_back(piece.to_vec());
                rest = more;
                if rest.is_empty() { break }
            }
            let cut = read_all(LineReader::with_limit(Pieces(pieces), 50));
            let whole = lines(&[&bytes], 50);
            prop_assert_eq!(cut, whole);
        }
    }
}
