//! Questions to the kernel's routing netlink, one at a time and answered at once.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::Error;

/// A netlink socket in the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// The kernel's no: its number, and its sentence if it had one.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: io::Error,
    pub(crate) sentence: String,
}

impl Refused {
    /// As an error about `interface`.
    pub(crate) fn about(self, interface: &str, doing: &'static str) -> Error {
        Error::interface(interface, doing, self.errno).hint(&self.sentence).needs("CAP_NET_ADMIN")
    }

    fn odd(what: impl ToString) -> Self {
        Self { errno: io::ErrorKind::InvalidData.into(), sentence: what.to_string() }
    }
}

impl From<io::Error> for Refused {
    fn from(errno: io::Error) -> Self {
        Self { errno, sentence: String::new() }
    }
}

/// A socket that hears of changes in the calling thread's namespace, of whatever `groups` say; `doing`
/// is for the error.
pub(crate) fn listen(groups: u32, doing: &'static str) -> Result<Socket, Error> {
    let opened = || {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_non_blocking(true)?;
        Ok(socket)
    };
    opened().map_err(|errno: io::Error| Error::system(doing, errno))
}

impl Netlink {
    /// Opens a socket.
    pub(crate) fn open() -> Result<Self, Error> {
        let opened = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Sentences with the numbers, and no echo of the request in front of them.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(Self { socket, sequence: 0 })
        };
        opened().map_err(|errno: io::Error| Error::system("opening a netlink socket", errno))
    }

    /// Has the kernel do `message`, and waits for its word.
    pub(crate) fn change(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Refused> {
        self.ask(message, NLM_F_ACK | flags).map(drop)
    }

    /// Everything the kernel has about `message`.
    pub(crate) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Refused> {
        self.ask(message, NLM_F_DUMP)
    }

    /// Sends `message` and collects the answers, up to the one that ends them.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Refused> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        // An answer to neither a dump nor a change is one message without an end.
        let single = flags & (NLM_F_ACK | NLM_F_DUMP) == 0;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                let (header, payload) = message?;
                if header.sequence_number != self.sequence {
                    continue;
                }
                match payload {
                    Payload::Answer(answer) => answers.push(answer),
                    Payload::End(Some(refused)) => return Err(refused),
                    Payload::End(None) => return Ok(answers),
                }
            }
            if single && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

/// What one message says.
pub(crate) enum Payload {
    /// Something asked for, or told by the kernel.
    Answer(RouteNetlinkMessage),
    /// The end, in failure or success.
    End(Option<Refused>),
}

/// The messages of one datagram. One that cannot be read is an error; those behind it follow.
pub(crate) fn messages(
    mut bytes: &[u8],
) -> impl Iterator<Item = Result<(NetlinkHeader, Payload), Refused>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let (message, rest) = bytes.split_at_checked(len.max(16))?;
        bytes = rest.get(len.next_multiple_of(4) - len..).unwrap_or_default();
        let read = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message);
        Some(read.map_err(Refused::odd).map(|message| {
            let payload = match message.payload {
                NetlinkPayload::InnerMessage(inner) => Payload::Answer(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    let sentence = sentence(&error.header);
                    Payload::End(Some(Refused { errno: error.to_io(), sentence }))
                }
                _ => Payload::End(None),
            };
            (message.header, payload)
        }))
    })
}

/// The kernel's sentence about a failure (`NLMSGERR_ATTR_MSG`), behind the header of the request.
fn sentence(report: &[u8]) -> String {
    const HEADER_LEN: usize = 16;
    const MESSAGE: u16 = 1;
    NlasIterator::new(report.get(HEADER_LEN..).unwrap_or_default())
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == MESSAGE)
        .map(|attribute| {
            String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_cut_short_ends_the_messages() {
        assert_eq!(messages(&[]).count(), 0);
        assert_eq!(messages(&[200, 0, 0, 0, 1, 2]).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 1, "a header that says nothing");
    }

    #[test]
    fn the_kernels_sentence_is_found() {
        let mut report = vec![0; 16];
        report.extend([9, 0, 1, 0]);
        report.extend(b"nope\0\0\0\0");
        assert_eq!(sentence(&report), "nope");
        assert_eq!(sentence(&[]), "");
    }
}
