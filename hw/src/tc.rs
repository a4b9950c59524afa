//! Programs in the way of what an interface receives, before its network stack does, or sends,
//! after it.
//!
//! They hang on a `clsact` qdisc, as a filter of kind `bpf` with direct action. Such a filter needs
//! no file system, works since Linux 4.5, and stays when our process ends: what it redirects to is
//! gone then, so packets are dropped (fail closed). We know our own by their names, and replace
//! them in one step, without a moment in which packets pass.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use rustix::io::Errno;

use crate::bpf::Program;
use crate::error::Error;
use crate::links::Link;
use crate::netlink::Netlink;

/// What the names of our filters begin with.
const OURS: &str = "vswitch_";
/// All protocols (`ETH_P_ALL`), as the low half of a filter's `info` holds it: in network order.
const ALL: u32 = 0x0003_u16.to_be() as u32;
/// The first of all priorities, the high half of `info`.
const FIRST: u32 = 1 << 16;
const HANDLE: TcHandle = TcHandle { major: 0, minor: 1 };

/// Which way packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// What the interface receives.
    Ingress,
    /// What it sends.
    Egress,
}

impl Hook {
    const fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: TcHandle::CLSACT.major, minor }
    }
}

/// Lets `program` decide about all packets of `link` at `hook`. `name` begins with `vswitch_`.
/// Replaces a filter of ours that is left from an earlier process; refuses if somebody else's would
/// decide first.
pub fn attach(link: &Link, hook: Hook, name: &str, program: &Program) -> Result<(), Error> {
    if !name.starts_with(OURS) {
        let reason = format!("a filter called `{name}` would not be known as ours");
        return Err(Error::Spec { port: link.name.clone(), reason });
    }
    let mut netlink = Netlink::open()?;
    ensure_clsact(&mut netlink, link)?;
    if let Some(filter) = first_filter(&mut netlink, link, hook)?
        && !filter.ours
    {
        return Err(Error::ForeignFilter { interface: link.name.clone(), filter: filter.name });
    }
    let options = [
        TcFilterBpfOption::ProgFd(program.as_fd().as_raw_fd().cast_unsigned()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let mut message = filter(link, hook, HANDLE);
    message.attributes = vec![
        TcAttribute::Kind("bpf".to_owned()),
        TcAttribute::Options(options.map(TcOption::Bpf).into()),
    ];
    // Without `NLM_F_EXCL`, one with the same handle is exchanged, under the eyes of no packet.
    let done = netlink.change(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE);
    done.map_err(|refused| refused.about(&link.name, "attaching a tc filter"))
}

/// Whether a filter of ours is there, if only an earlier process's.
pub fn is_ours(link: &Link, hook: Hook) -> Result<bool, Error> {
    let first = first_filter(&mut Netlink::open()?, link, hook)?;
    Ok(first.is_some_and(|filter| filter.ours))
}

/// Takes our filter off. It is no error if there is none, or no interface any more.
pub fn detach(link: &Link, hook: Hook) -> Result<(), Error> {
    if !is_ours(link, hook)? {
        return Ok(());
    }
    let mut netlink = Netlink::open()?;
    let message = RouteNetlinkMessage::DelTrafficFilter(filter(link, hook, HANDLE));
    netlink
        .change(message, 0)
        .map_err(|refused| refused.about(&link.name, "deleting our tc filter"))
}

/// A filter at the first priority.
struct First {
    name: String,
    ours: bool,
}

fn first_filter(netlink: &mut Netlink, link: &Link, hook: Hook) -> Result<Option<First>, Error> {
    let question = RouteNetlinkMessage::GetTrafficFilter(filter(link, hook, TcHandle::UNSPEC));
    let answers = match netlink.dump(question) {
        Ok(answers) => answers,
        // No such interface, or no qdisc to hang a filter on.
        Err(refused)
            if [Errno::NODEV, Errno::INVAL]
                .map(Some)
                .contains(&Errno::from_io_error(&refused.errno)) =>
        {
            return Ok(None);
        }
        Err(refused) => return Err(refused.about(&link.name, "listing its tc filters")),
    };
    let first = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(message)
            if message.header.info & 0xffff_0000 == FIRST
                && message.header.handle != TcHandle::UNSPEC =>
        {
            Some(describe(&message))
        }
        _ => None,
    });
    Ok(first)
}

fn describe(message: &TcMessage) -> First {
    let mut name = String::new();
    let mut kind = String::new();
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(text) => kind.clone_from(text),
            TcAttribute::Options(options) => {
                for option in options {
                    if let TcOption::Bpf(TcFilterBpfOption::ProgName(text)) = option {
                        name.clone_from(text);
                    }
                }
            }
            _ => {}
        }
    }
    First { ours: kind == "bpf" && name.starts_with(OURS), name: format!("{kind} {name}") }
}

fn ensure_clsact(netlink: &mut Netlink, link: &Link) -> Result<(), Error> {
    let mut message = TcMessage::default();
    message.header.index = link.ifindex.cast_signed();
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    match netlink.change(message, NLM_F_CREATE | NLM_F_EXCL) {
        Err(refused) if refused.errno.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        done => done.map_err(|refused| refused.about(&link.name, "adding a clsact qdisc")),
    }
}

/// Lets `link` send without a queue in front of it. Its own is enough, and counts what it drops as
/// the interface's.
pub(crate) fn without_queue(link: &Link) -> Result<(), Error> {
    let mut message = TcMessage::default();
    message.header.index = link.ifindex.cast_signed();
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![TcAttribute::Kind("noqueue".to_owned())];
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    let done = Netlink::open()?.change(message, NLM_F_CREATE | NLM_F_REPLACE);
    done.map_err(|refused| refused.about(&link.name, "taking its qdisc away"))
}

fn filter(link: &Link, hook: Hook, handle: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    message.header = TcHeader {
        index: link.ifindex.cast_signed(),
        handle,
        parent: hook.parent(),
        info: FIRST | ALL,
        ..TcHeader::default()
    };
    message
}
