//! Requests of TFTP (RFC 1350 §5): what answers them comes from a port that nobody has named.

/// What begins a request to read, and one to write.
const REQUESTS: [[u8; 2]; 2] = [[0, 1], [0, 2]];

/// Whether a datagram asks for a file to be read or written.
pub(crate) fn is_request(bytes: &[u8]) -> bool {
    let Some((code, rest)) = bytes.split_first_chunk() else { return false };
    // A name and a mode, each of which ends with a zero; options may follow (RFC 2347).
    let mut texts = rest.split(|byte| *byte == 0);
    let is_text = |text: Option<&[u8]>| text.is_some_and(|text| !text.is_empty());
    REQUESTS.contains(code)
        && is_text(texts.next())
        && is_text(texts.next())
        && texts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_have_a_name_and_a_mode() {
        for request in [&b"\0\x01name\0octet\0"[..], b"\0\x02a\0netascii\0blksize\x001428\0"] {
            assert!(is_request(request), "{request:?}");
        }
        let others = [
            &b""[..],
            b"\0",
            b"\0\x01",
            b"\0\x01name",
            b"\0\x01name\0octet",
            b"\0\x01\0octet\0",
            b"\0\x01name\0\0",
            b"\0\x03\0\x01data\0",
            b"\x01\x01name\0octet\0",
        ];
        for other in others {
            assert!(!is_request(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            is_request(&bytes);
        }
    }
}
