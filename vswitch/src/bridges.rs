//! Bridges and ports come and go, and so do the interfaces they stand on.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::reply::{Done, Event, PortAdded, WatchedPort};
use api::request::{PortAdd, PortKind, PortMod, PortRef};
use api::{Failure, PortFlags};
use flowtable::{BridgeId, Tables};
use hw::{DummyHandle, LinkChange, LinkEvent, PortCounters};
use packet::PortId;

use crate::account::Account;
use crate::answers::show_port;
use crate::control::Control;
use crate::egress::Egress;
use crate::ports::{Entry, Ports};

impl Control {
    pub(crate) fn add_bridge(&mut self, name: &str) -> Result<Done, Failure> {
        check_name("bridge", name)?;
        if self.tables.bridges().any(|(_, bridge)| *bridge.name == *name) {
            return Err(Failure::refused(format!("there is a bridge `{name}` already")));
        }
        let mut edit = self.tables.edit();
        if edit.add_bridge(name.into()).is_none() {
            return Err(Failure::refused(format!(
                "a switch has {} bridges at most",
                Tables::BRIDGES
            )));
        }
        self.publish(None, edit);
        tracing::info!(bridge = name, "bridge added");
        Ok(Done {})
    }

    pub(crate) fn remove_bridge(&mut self, name: &str) -> Result<Done, Failure> {
        let bridge = self.bridge(Some(name))?;
        let ports: Vec<_> = self.ports.of(bridge).map(|entry| entry.id).collect();
        for id in ports {
            self.tell_port(id, Event::PortDeleted);
            self.ports.close(id, "the bridge was removed".to_owned(), true, &mut self.crew);
            self.ports.remove(id);
        }
        let mut edit = self.tables.edit();
        edit.remove_bridge(bridge).map_err(|refused| Failure::refused(refused.to_string()))?;
        self.publish(Some(bridge), edit);
        tracing::info!(bridge = name, "bridge removed");
        Ok(Done {})
    }

    /// Adds a port that works at once, or none.
    pub(crate) fn add_port(&mut self, add: PortAdd) -> Result<PortAdded, Failure> {
        let (id, number) = self.register_port(add)?;
        if let Err(reason) = self.open_port(id) {
            self.forget_port(id);
            return Err(Failure::refused(reason));
        }
        self.tell_port(id, Event::PortAdded);
        Ok(PortAdded { number })
    }

    /// Adds a port that flows know and no packet passes yet.
    pub(crate) fn register_port(&mut self, add: PortAdd) -> Result<(PortId, u16), Failure> {
        check_name("port", &add.name)?;
        let bridge = self.bridge(add.bridge.as_deref())?;
        let bridge_name = self.bridge_name(bridge);
        if let Some(other) = self.ports.iter().find(|entry| *entry.name == *add.name) {
            let bridge = self.bridge_name(other.bridge);
            return Err(Failure::refused(format!(
                "bridge {bridge} has a port `{}` already",
                add.name
            )));
        }
        let number = self.number_for(bridge, &bridge_name, &add)?;
        let id = self.ports.free_id().ok_or_else(|| {
            Failure::refused(format!("a switch has {} ports at most", Ports::MOST - 1))
        })?;
        let dummy = match &add.kind {
            PortKind::Dummy(_) => {
                Some(DummyHandle::new().map_err(|error| Failure::internal(error.to_string()))?)
            }
            _ => None,
        };
        let entry = Entry {
            id,
            number,
            bridge,
            name: add.name.as_str().into(),
            kind: add.kind,
            vlan: add.vlan,
            flags: PortFlags::default(),
            was_up: false,
            port: Err("it is being opened".to_owned()),
            accounts: self.crew.members().iter().map(|_| Arc::new(Account::default())).collect(),
            queues: Vec::new(),
            egress: Egress::default(),
            lost_before: PortCounters::default(),
            dummy,
        };
        let mut edit = self.tables.edit();
        edit.set_port(entry.view()).map_err(|refused| Failure::refused(refused.to_string()))?;
        self.ports.insert(entry);
        self.publish(None, edit);
        if let Err(error) = self.numbers.remember(&bridge_name, &add.name, number) {
            tracing::warn!(%error, "the numbers of ports cannot be remembered");
        }
        Ok((id, number))
    }

    /// Opens the device of a port; the reason in words if that cannot be.
    pub(crate) fn open_port(&mut self, id: PortId) -> Result<(), String> {
        self.ports.open(id, &self.depot, &self.crew, self.clock.now())?;
        self.publish_turned(&[id]);
        if let Some(entry) = self.ports.get(id) {
            let bridge = self.bridge_name(entry.bridge);
            tracing::info!(bridge, port = %entry.name, number = entry.number, "port opened");
        }
        Ok(())
    }

    fn number_for(
        &self,
        bridge: BridgeId,
        bridge_name: &str,
        add: &PortAdd,
    ) -> Result<u16, Failure> {
        let taken: BTreeSet<u16> = self.ports.of(bridge).map(|entry| entry.number).collect();
        if add.name == bridge_name && matches!(add.kind, PortKind::Internal(_)) {
            // The bridge's own interface is the one called like it.
            return Ok(flowtable::Ports::LOCAL);
        }
        match add.number {
            None => self
                .numbers
                .choose(bridge_name, &add.name, &taken)
                .ok_or_else(|| Failure::refused("all port numbers of the bridge are taken")),
            Some(number) if number == 0 || number > flowtable::Ports::MAX => Err(Failure::refused(
                format!("a port's number is 1 to {}, not {number}", flowtable::Ports::MAX),
            )),
            Some(number) if taken.contains(&number) => {
                Err(Failure::refused(format!("number {number} is another port's")))
            }
            Some(number) => Ok(number),
        }
    }

    pub(crate) fn remove_port(
        &mut self,
        bridge: Option<&str>,
        name: &str,
    ) -> Result<Done, Failure> {
        let bridge = self.bridge(bridge)?;
        let id = self.port(bridge, &PortRef::Name(name.to_owned()))?.id;
        self.tell_port(id, Event::PortDeleted);
        self.ports.close(id, "it was removed".to_owned(), true, &mut self.crew);
        self.forget_port(id);
        tracing::info!(bridge = self.bridge_name(bridge), port = name, "port removed");
        Ok(Done {})
    }

    /// Changes how a port is used.
    pub(crate) fn change_port(&mut self, change: &PortMod) -> Result<Done, Failure> {
        let bridge = self.bridge(change.bridge.as_deref())?;
        let id = self.port(bridge, &change.port)?.id;
        let Some(entry) = self.ports.get_mut(id) else { return Ok(Done {}) };
        let flags = entry.flags.with(change.flags);
        if flags == entry.flags {
            return Ok(Done {});
        }
        entry.flags = flags;
        let mut edit = self.tables.edit();
        edit.set_port(entry.view()).map_err(|refused| Failure::refused(refused.to_string()))?;
        tracing::info!(port = %entry.name, flags = ?flags.names().collect::<Vec<_>>(), "port changed");
        self.publish(None, edit);
        self.tell_port(id, Event::PortModified);
        Ok(Done {})
    }

    /// Tells of a port as it is now.
    fn tell_port(&mut self, id: PortId, event: impl Fn(WatchedPort) -> Event) {
        let Some(entry) = self.ports.get_mut(id) else { return };
        entry.was_up = entry.why_down().is_none();
        let (bridge, port) = (entry.bridge, show_port(entry));
        let bridge = self.bridge_name(bridge);
        let watched = || WatchedPort { bridge: bridge.clone(), port: port.clone() };
        self.events.tell_port(&bridge, || event(watched()));
    }

    /// Tells of a port that has come up or gone down.
    fn tell_if_turned(&mut self, id: PortId) {
        let turned = |entry: &Entry| entry.was_up != entry.why_down().is_none();
        if self.ports.get(id).is_some_and(turned) {
            self.tell_port(id, Event::PortModified);
        }
    }

    /// Lets flows know of those of these ports that have come up or gone down.
    fn publish_turned(&mut self, ports: &[PortId]) {
        let mut edit = self.tables.edit();
        let mut turned = false;
        for entry in ports.iter().filter_map(|id| self.ports.get(*id)) {
            let (bridge, view) = (self.tables.bridge(entry.bridge), entry.view());
            let known = bridge.and_then(|bridge| bridge.ports.get(entry.number));
            if known.is_some_and(|known| known.is_up != view.is_up) {
                // Its bridge was there a moment ago.
                turned |= edit.set_port(view).is_ok();
            }
        }
        if turned {
            self.publish(None, edit);
        }
    }

    fn forget_port(&mut self, id: PortId) {
        let Some(entry) = self.ports.remove(id) else { return };
        let mut edit = self.tables.edit();
        // The bridge was there a moment ago, and nobody else removes any.
        if edit.remove_port(entry.bridge, entry.number).is_ok() {
            self.publish(None, edit);
        }
    }

    /// Goes along with what has happened to interfaces.
    pub fn links_changed(&mut self, events: &[LinkEvent]) {
        for LinkEvent { link, change } in events {
            let ports = self.ports.on_interface(link.ifindex);
            ports.iter().for_each(|id| self.port_changed(*id, *change, &link.name));
            self.publish_turned(&ports);
            ports.into_iter().for_each(|id| self.tell_if_turned(id));
            if *change != LinkChange::Vanished {
                for id in self.ports.waiting_for(&link.name) {
                    self.reopen(id);
                }
            }
        }
    }

    /// Tries all ports again that do not work: what was in the way may have gone without a word.
    pub(crate) fn retry_ports(&mut self) {
        let down = self.ports.iter().filter(|entry| entry.port.is_err()).map(|entry| entry.id);
        let down: Vec<_> = down.collect();
        down.into_iter().for_each(|id| self.reopen(id));
    }

    fn port_changed(&mut self, id: PortId, change: LinkChange, interface: &str) {
        let reason = match change {
            LinkChange::Vanished => format!("{interface} is gone, deleted or in another namespace"),
            _ => match self.ports.refresh(id, &self.crew) {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
        };
        tracing::warn!(port = interface, reason, "port down");
        self.ports.close(id, reason, false, &mut self.crew);
    }

    fn reopen(&mut self, id: PortId) {
        if let Err(reason) = self.open_port(id) {
            self.note_reason(id, reason);
        }
        self.tell_if_turned(id);
    }

    /// Notes why a port still does not work. It is not said twice.
    pub(crate) fn note_reason(&mut self, id: PortId, reason: String) {
        let Some(entry) = self.ports.get(id) else { return };
        if entry.port.as_ref().is_err_and(|before| *before == reason) {
            return;
        }
        tracing::warn!(port = %entry.name, reason, "port down");
        self.ports.close(id, reason, false, &mut self.crew);
        self.publish_turned(&[id]);
    }
}

/// Names become parts of interface names and files.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    const LONGEST: usize = 15;
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b'"' && byte != b',';
    if name.is_empty()
        || name.len() > LONGEST
        || !name.bytes().all(legal)
        || name == "."
        || name == ".."
    {
        let rule = format!(
            "1 to {LONGEST} printable characters without blanks, commas, quotes and slashes"
        );
        return Err(Failure::refused(format!("`{name}` is no name for a {what}: that is {rule}")));
    }
    Ok(())
}
