//! VLAN tags made and removed by a host's kernel, on the wire only: its stack knows nothing of
//! them.

use hw::bpf::{Code, Kind, Program, Register::*};
use hw::tc::{self, Hook};
use hw::{Error, Links};

/// From now on, what the calling thread's `eth0` sends has the tag `vlan`, left to offload as a
/// VLAN interface would leave it, and what it receives loses its tag.
pub fn tag_everything(vlan: i32) -> Result<(), Error> {
    const VLAN_PUSH: i32 = 18;
    const VLAN_POP: i32 = 19;
    /// 0x8100, in network order.
    const PROTOCOL: i32 = 0x8100_u16.to_be() as i32;
    let link = Links::open()?.named("eth0")?;
    let push = Code::new().set(R2, PROTOCOL).set(R3, vlan).call(VLAN_PUSH).set(R0, 0).exit();
    let pop = Code::new().call(VLAN_POP).set(R0, 0).exit();
    let push = Program::load("vswitch_push", Kind::Tc, &push)?;
    let pop = Program::load("vswitch_pop", Kind::Tc, &pop)?;
    tc::attach(&link, Hook::Egress, "vswitch_push", &push)?;
    tc::attach(&link, Hook::Ingress, "vswitch_pop", &pop)
}
