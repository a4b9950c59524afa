//! Ports in processes of their own: with few rights, and killed without a chance to tidy up.

mod common;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use common::{Forwarder, Frames, Result};
use hw::{AfXdp, AfXdpOptions, Pod, PodOptions, Port, WhenAway};
use packet::PortId;
use testnet::net::Running;
use testnet::{FOUR_CAPABILITIES, Host, Nobody, TestNet};

/// Tells a second run of this program what ports to make; `pods`, `drop` or `pass`.
const ROLE: &str = "VSWITCH_PORTS";

/// Joins the ports of `a` and `b`, in the namespace it is started in, until it is killed.
#[test]
#[ignore = "the other process of the tests below, which does nothing by itself"]
fn other_process() -> Result {
    let Ok(role) = std::env::var(ROLE) else { return Ok(()) };
    let frames = Frames::new(16384);
    let mut ports = Vec::<Box<dyn Port>>::new();
    for (name, id) in [("a", PortId(1)), ("b", PortId(2))] {
        let when_away = if role == "pass" { WhenAway::Pass } else { WhenAway::Drop };
        ports.push(match role.as_str() {
            "pods" => Box::new(Pod::open(&PodOptions::new(name), id, &frames.depot, None)?),
            _ => {
                let options = AfXdpOptions { when_away, ..AfXdpOptions::new(name) };
                Box::new(AfXdp::open(&options, id, &frames.depot)?)
            }
        });
    }
    let [a, b] = &mut ports[..] else { return Ok(()) };
    let _forwarder = Forwarder::start([a.as_mut(), b.as_mut()], &frames.depot);
    println!("ready");
    loop {
        sleep(Duration::from_secs(1));
    }
}

/// Starts the other process, and waits until packets cross it.
fn start(net: &TestNet, role: &str, hosts: [&Host; 2]) -> Result<Running> {
    start_program(net, role, None, &std::env::current_exe()?, hosts)
}

fn start_program(
    net: &TestNet,
    role: &str,
    starter: Option<&Path>,
    program: &Path,
    [a, b]: [&Host; 2],
) -> Result<Running> {
    let [starter, program] = [starter.unwrap_or(Path::new("")), program].map(Path::display);
    let process = net.spawn(&format!(
        "{starter} env {ROLE}={role} {program} --exact --ignored --nocapture other_process"
    ))?;
    for _ in 0..50 {
        if a.ping(b, 1)? == 1 {
            return Ok(process);
        }
        sleep(Duration::from_millis(20));
    }
    Err("the other process carries no packets".into())
}

/// How many of three pings from `host` the switch's own namespace answers, at 10.0.0.254.
fn reaches_the_host_stack(host: &Host) -> Result<u32> {
    Ok(host.ping_with("10.0.0.254".parse()?, 3, 56)?)
}

fn network() -> Result<(TestNet, Host, Host)> {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    // The switch's namespace stands for the host: if a packet gets round us, it answers.
    net.run("ip address add 10.0.0.254/24 dev a")?;
    let mac = net.run("cat /sys/class/net/a/address")?;
    a.run(&format!("ip neigh add 10.0.0.254 lladdr {} dev eth0 nud permanent", mac.trim()))?;
    assert_eq!(reaches_the_host_stack(&a)?, 3, "without a switch");
    Ok((net, a, b))
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn four_capabilities_are_enough() -> Result {
    let (net, a, b) = network()?;
    let nobody = Nobody::new(&net, &std::env::current_exe()?)?;
    let [starter, program] = [nobody.starter(), nobody.program()];
    for role in ["drop", "pods"] {
        let mut process = start_program(&net, role, Some(&starter), &program, [&a, &b])?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        assert!(status.contains("Uid:\t65534\t65534"), "{status}");
        assert!(status.contains(&format!("CapEff:\t{FOUR_CAPABILITIES}")), "{status}");
        assert_eq!(a.ping(&b, 10)?, 10, "{role}");
        process.kill()?;
        net.run("ip link set dev a xdp off")?;
        net.run("ip link set dev b xdp off")?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_killed_switch_lets_nothing_through_and_a_new_one_goes_on() -> Result {
    for role in ["drop", "pods"] {
        let (net, a, b) = network()?;
        for _ in 0..2 {
            let mut process = start(&net, role, [&a, &b])?;
            assert_eq!(reaches_the_host_stack(&a)?, 0, "{role}: while it runs");
            process.kill()?;
            assert_eq!(a.ping(&b, 3)?, 0, "{role}: nobody carries packets");
            assert_eq!(reaches_the_host_stack(&a)?, 0, "{role}: after it was killed");
        }
        // The pod's side has seen nothing of it.
        assert!(a.run("ip address show dev eth0")?.contains("10.0.0.1/24"));
        assert!(a.run("ip link show dev eth0")?.contains("state UP"));
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_port_told_to_pass_gives_its_packets_to_the_host_when_it_is_away() -> Result {
    let (net, a, b) = network()?;
    let mut process = start(&net, "pass", [&a, &b])?;
    assert_eq!(reaches_the_host_stack(&a)?, 0, "while it runs");
    process.kill()?;
    assert_eq!(reaches_the_host_stack(&a)?, 3, "after it was killed");
    Ok(())
}
