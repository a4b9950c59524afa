//! How a port is used: the switches that OpenFlow gives each of them.

use serde::{Deserialize, Serialize};

macro_rules! flags {
    ($($name:ident $sentence:literal,)*) => {
        /// How a port is used (OpenFlow 1.5 §7.2.1, `OFPPC_*`). Nothing of it, unless said.
        #[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
        #[serde(default)]
        pub struct PortFlags {
            $(#[doc = $sentence] pub $name: bool,)*
        }

        /// A change of [`PortFlags`]: what is `None` stays as it is.
        #[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct PortFlagChanges {
            $(
                #[doc = $sentence]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<bool>,
            )*
        }

        impl PortFlags {
            /// The names of those that are set.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                let all = [$((stringify!($name), self.$name),)*];
                all.into_iter().filter(|(_, set)| *set).map(|(name, _)| name)
            }

            /// The same with these changes.
            #[must_use]
            pub fn with(self, changes: PortFlagChanges) -> Self {
                Self { $($name: changes.$name.unwrap_or(self.$name),)* }
            }
        }
    };
}

flags! {
    down "It carries nothing, either way.",
    no_receive "What comes in by it is dropped.",
    no_forward "What is sent to it is dropped.",
    no_flood "`flood` and `normal` leave it out when they flood.",
    no_packet_in "No packet that came in by it goes to a controller.",
}

impl PortFlags {
    /// Whether packets may come in by the port.
    pub const fn receives(self) -> bool {
        !self.down && !self.no_receive
    }

    /// Whether packets may be sent to the port.
    pub const fn forwards(self) -> bool {
        !self.down && !self.no_forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let flags = PortFlags { no_flood: true, down: true, ..PortFlags::default() };
        let changes =
            PortFlagChanges { down: Some(false), no_receive: Some(true), ..Default::default() };
        let changed = flags.with(changes);
        assert_eq!(changed.names().collect::<Vec<_>>(), ["no_receive", "no_flood"]);
        assert!(changed.forwards() && !changed.receives());
        assert!(!flags.forwards() && !flags.receives(), "what is down does neither");
    }
}
