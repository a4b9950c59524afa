//! The XDP program of a port, and putting it on the interface.
//!
//! It does one thing: hand each packet to the AF_XDP socket of the queue that it came in by. While
//! there is none, because the switch is away, it drops the packet, or lets it pass to the kernel if
//! the port is configured so. It hangs on the interface by netlink and stays there when our process
//! ends.
//!
//! **VLAN tags.** A driver may take a packet's tag out before XDP sees it; a veth always does that
//! to tags its peer has left to offload. Where the kernel lends its function for it, the program
//! asks for the tag and writes it in front of the packet, as metadata, which AF_XDP copies along;
//! [`super::rx`] puts it back where it belongs. Such a program is bound to its interface.
//!
//! **Whose program.** Without CAP_SYS_ADMIN nobody may ask what a program is, only for its number.
//! So we mark an interface that carries ours with a further name that holds that number, and a
//! later process of ours knows it again; any other program is somebody else's, and left alone.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::bpf::{Code, Kind, Program, Register::*, Size, SocketMap, kernel_function};
use crate::error::Error;
use crate::links::{AttachedProgram, Link, Links, XdpPlace};

/// What happens to received packets while no switch runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenAway {
    /// They are dropped: nothing gets round the switch.
    #[default]
    Drop,
    /// The kernel gets them, as if there had never been a switch.
    Pass,
}

/// Bytes of metadata in front of each packet, if there are any: the tag's protocol, as on the wire,
/// and its control information, in the machine's order; both zero for a packet without.
pub(crate) const METADATA_LEN: u16 = 4;

/// How a program was attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    /// Number and place of the program.
    pub(crate) program: AttachedProgram,
    /// Whether it puts [`METADATA_LEN`] bytes in front of each packet.
    pub(crate) tags: bool,
    /// Whether it can do with packets of several buffers.
    pub(crate) fragments: bool,
}

/// Puts our program on `link`, in its driver.
///
/// A program that a process of ours has left there is exchanged without a gap.
pub(crate) fn attach(
    links: &mut Links,
    link: &Link,
    sockets: &SocketMap,
    when_away: WhenAway,
) -> Result<Attachment, Error> {
    let tags = kernel_function("bpf_xdp_metadata_rx_vlan_tag");
    let most = Wish { when_away, place: XdpPlace::Native, fragments: true, tags };
    let plain = Wish { tags: None, ..most };
    let least = Wish { fragments: false, ..plain };
    // What speaks against the last, which asks for the least, speaks against XDP here.
    most.attach(links, link, sockets)
        .or_else(|_| plain.attach(links, link, sockets))
        .or_else(|_| least.attach(links, link, sockets))
}

/// Puts our program on `link`, behind its driver: slower, and only for packets of one buffer.
pub(crate) fn attach_generic(
    links: &mut Links,
    link: &Link,
    sockets: &SocketMap,
    when_away: WhenAway,
) -> Result<Attachment, Error> {
    let wish = Wish { when_away, place: XdpPlace::Generic, fragments: false, tags: None };
    wish.attach(links, link, sockets)
}

/// Takes our program, number `id`, off `link`. It is no error if another is there by now, or none.
pub(crate) fn detach(links: &mut Links, link: &Link, id: u32) -> Result<(), Error> {
    if let Some(program) = link.program.filter(|program| program.id == id) {
        links.set_xdp(link, None, program.place, false)?;
    }
    remove_marks(links, link, None)
}

/// The program on `link`, unless it is ours.
pub(crate) fn foreign(link: &Link) -> Option<AttachedProgram> {
    link.program.filter(|program| !link.alternative_names.contains(&mark(program.id)))
}

/// One way of doing it.
#[derive(Clone, Copy)]
struct Wish {
    when_away: WhenAway,
    place: XdpPlace,
    fragments: bool,
    /// The number of the kernel's function that tells a packet's VLAN tag.
    tags: Option<u32>,
}

impl Wish {
    fn attach(
        self,
        links: &mut Links,
        link: &Link,
        sockets: &SocketMap,
    ) -> Result<Attachment, Error> {
        let map = sockets.as_fd().as_raw_fd();
        let code = match self.tags {
            Some(function) => code_with_tags(map, self.when_away, function),
            None => redirect(Code::new(), R1, map, self.when_away),
        };
        let bound_to = self.tags.map(|_| link.ifindex);
        let kind = Kind::Xdp { fragments: self.fragments, bound_to };
        let program = Program::load("vswitch_xdp", kind, &code)?;
        let id = program.id()?;
        // Marked first: a process that ends in between leaves a mark without a program, which harms
        // nobody; the other way round its successor would not know its own.
        links.add_name(link, &mark(id))?;
        let attached = self.exchange(links, link, &program);
        // Of the marks, only that of the program that is there now stays.
        let keep = if attached.is_ok() { Some(id) } else { link.program.map(|old| old.id) };
        let marked = Links::numbered(links, link.ifindex, &link.name)?;
        remove_marks(links, &marked, keep)?;
        attached?;
        let program = AttachedProgram { id, place: self.place };
        let (tags, fragments) = (self.tags.is_some(), self.fragments);
        Ok(Attachment { program, tags, fragments })
    }

    fn exchange(&self, links: &mut Links, link: &Link, program: &Program) -> Result<(), Error> {
        // One in the driver and one behind it exclude each other.
        if let Some(old) = link.program.filter(|old| old.place != self.place) {
            links.set_xdp(link, None, old.place, false)?;
        }
        let exchanged = links.set_xdp(link, Some(program), self.place, link.program.is_none());
        exchanged.map_err(|error| {
            let hint = match error.errno() {
                Some(Errno::NOSPC) => {
                    "it has fewer receive queues than its peer has transmit queues"
                }
                Some(Errno::RANGE) => "its MTU is too long for a program without fragments",
                Some(Errno::OPNOTSUPP) => "its driver has no native XDP",
                _ => "",
            };
            error.hint(hint)
        })
    }
}

const MARK: &str = "vswitch-xdp-";

fn mark(id: u32) -> String {
    format!("{MARK}{id}")
}

fn remove_marks(links: &mut Links, link: &Link, keep: Option<u32>) -> Result<(), Error> {
    let keep = keep.map(mark);
    for name in &link.alternative_names {
        if name.starts_with(MARK) && Some(name) != keep.as_ref() {
            links.delete_name(link, name)?;
        }
    }
    Ok(())
}

const DROP: i32 = 1;
const PASS: i32 = 2;

/// Offsets in `struct xdp_md`.
mod context {
    pub(super) const DATA: i16 = 0;
    pub(super) const METADATA: i16 = 8;
    pub(super) const QUEUE: i16 = 16;
}

/// Sends the packet of `context` to the socket of its queue.
fn redirect(code: Code, context: crate::bpf::Register, map: i32, when_away: WhenAway) -> Code {
    const REDIRECT_MAP: i32 = 51;
    let otherwise = match when_away {
        WhenAway::Drop => DROP,
        WhenAway::Pass => PASS,
    };
    code.load(Size::Word, R2, context, context::QUEUE)
        .load_map(R1, map)
        .set(R3, otherwise)
        .call(REDIRECT_MAP)
        .exit()
}

/// As [`redirect`], with the VLAN tag in front of the packet.
fn code_with_tags(map: i32, when_away: WhenAway, rx_vlan_tag: u32) -> Code {
    const ADJUST_METADATA: i32 = 54;
    const METADATA: i32 = METADATA_LEN as i32;
    // The tag's protocol and control information lie on the stack as they will lie in front.
    const PROTOCOL: i32 = -METADATA;
    const CONTROL: i32 = PROTOCOL + 2;
    let code = Code::new()
        .copy(R6, R1)
        // Room for the metadata.
        .set(R2, -METADATA)
        .call(ADJUST_METADATA)
        .jump_if_not(R0, 0, "drop")
        // Ask; R7 = the answer, zero if there is no tag.
        .store_value(Size::Word, R10, -4, 0)
        .copy(R1, R6)
        .copy(R2, R10)
        .add(R2, PROTOCOL)
        .copy(R3, R10)
        .add(R3, CONTROL)
        .call_kernel(rx_vlan_tag)
        .set(R7, 0)
        .jump_if_not(R0, 0, "write")
        .load(Size::Word, R7, R10, -4)
        .label("write")
        // Write it down; the verifier wants to see that there is room.
        .load(Size::Word, R2, R6, context::METADATA)
        .load(Size::Word, R3, R6, context::DATA)
        .copy(R1, R2)
        .add(R1, METADATA)
        .jump_if_greater(R1, R3, "drop")
        .store(Size::Word, R2, 0, R7);
    redirect(code, R6, map, when_away).label("drop").set(R0, DROP).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ours_if_the_interface_says_so() {
        let program = Some(AttachedProgram { id: 17, place: XdpPlace::Native });
        let mut link = Link { program, ..Link::default() };
        assert_eq!(foreign(&link), program);
        link.alternative_names = vec!["vswitch-xdp-1".to_owned()];
        assert_eq!(foreign(&link), program, "the mark of an older program");
        link.alternative_names.push("vswitch-xdp-17".to_owned());
        assert_eq!(foreign(&link), None);
    }
}
