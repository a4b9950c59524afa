//! Connections that others have announced and that have not come.

use api::Failure;
use api::reply::{ConnectionTuple, Cursor, Expectation, Expectations};
use api::request::CtExpectDump;
use conntrack::{Expected, Tuple};

use super::connections::told;
use super::{bad_cursor, page_of};
use crate::control::Control;

impl Control {
    /// A page of connections that are waited for. Cost: a look at so many, and for each part of the table
    /// the lock that packets which announce others take, too.
    pub(crate) fn dump_expected(&self, dump: &CtExpectDump) -> Result<Expectations, Failure> {
        let last = match &dump.after {
            None => None,
            Some(cursor) => Some(read(cursor).ok_or_else(bad_cursor)?),
        };
        let now = self.clock.millis();
        let (page, next) =
            self.crew.connections().waited_for(last.as_ref(), page_of(dump.limit), now);
        let is_meant = |one: &&Expected| dump.zone.is_none_or(|zone| zone == one.tuple.zone());
        let expected = page.iter().filter(is_meant).map(expectation).collect();
        Ok(Expectations { expected, next: next.as_ref().map(cursor) })
    }
}

/// The cursor behind one of these: the words of its tuple.
fn cursor(tuple: &Tuple) -> Cursor {
    let words = tuple.words().map(|word| format!("{word:x}"));
    Cursor(words.join("/"))
}

fn read(Cursor(text): &Cursor) -> Option<Tuple> {
    let words: Option<Vec<_>> =
        text.split('/').map(|word| u64::from_str_radix(word, 16).ok()).collect();
    Tuple::read(words?.try_into().ok()?)
}

/// One, as it is told.
fn expectation(one: &Expected) -> Expectation {
    Expectation {
        zone: one.tuple.zone(),
        original: ConnectionTuple { src_port: None, ..told(&one.tuple) },
        parent: told(&one.master),
        helper: one.alg.map(|alg| alg.name().to_owned()),
        mark: one.mark,
        labels: one.label,
        timeout_ms: one.left.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_leads_back_and_any_text_is_read(is_ipv4: bool, bytes: [u8; 16], ports: [u16; 2], text: String) {
            let address = |bytes: [u8; 16]| match is_ipv4 {
                true => std::net::IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
                false => bytes.into(),
            };
            let [src_port, dst_port] = ports;
            let ends = conntrack::Ends { src: address(bytes), dst: address([7; 16]), src_port, dst_port, proto: 6 };
            let tuple = Tuple::new(ends, 5).unwrap();
            prop_assert_eq!(read(&cursor(&tuple)), Some(tuple));
            let _ = read(&Cursor(text));
        }
    }
}
