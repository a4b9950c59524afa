//! The VLANs of a port on a command line and in answers: `all`, `access=10`, `trunk=10,20`.

use api::request::{PortVlan, VlanId};

/// Reads the VLANs of a port.
pub(crate) fn parse_vlan(text: &str) -> Result<PortVlan, String> {
    let id = |number: &str| {
        let number: u16 = number.parse().map_err(|_wrong| format!("`{number}` is no VLAN"))?;
        VlanId::try_from(number)
    };
    match text.split_once('=') {
        None if text == "all" => Ok(PortVlan::All),
        Some(("access", number)) => id(number).map(PortVlan::Access),
        Some(("trunk", list)) => {
            list.split(',').map(id).collect::<Result<_, _>>().map(PortVlan::Trunk)
        }
        _ => Err("expected all, access=VLAN or trunk=VLAN,VLAN...".to_owned()),
    }
}

/// The VLANs of a port as [`parse_vlan`] reads them.
pub(crate) fn vlan_text(vlan: &PortVlan) -> String {
    match vlan {
        PortVlan::All => "all".to_owned(),
        PortVlan::Access(id) => format!("access={}", u16::from(*id)),
        PortVlan::Trunk(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| u16::from(*id).to_string()).collect();
            format!("trunk={}", ids.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["all", "access=10", "trunk=1,20,4094"] {
            assert_eq!(vlan_text(&parse_vlan(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_vlan_is_named() {
        assert_eq!(parse_vlan("access=4095").unwrap_err(), "4095 is no VLAN from 1 to 4094");
        assert_eq!(parse_vlan("trunk=1,x").unwrap_err(), "`x` is no VLAN");
        assert!(parse_vlan("10").unwrap_err().starts_with("expected all, access=VLAN"));
    }
}
