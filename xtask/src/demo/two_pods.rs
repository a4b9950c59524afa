//! Two pods talk through the switch, are kept from it, and why.

use super::{Outcome, Play, Pod, Story, received};

pub(super) const PLAY: Play = Play {
    pods: &[Pod { port: "red", number: 1 }, Pod { port: "blue", number: 2 }],
    parts: &[
        ("Two pods, not connected", Story::network),
        ("The switch", Story::switch),
        ("A port for each pod, and flows", program),
        ("Ping", ping),
        ("TCP, both ways", tcp),
        ("A flow blocks a service", block),
        ("Why? The trace of such a packet", trace),
        ("What was counted", counters),
        ("The flow is gone, the service is back", unblock),
    ],
};

const FLOWS: &str = "\
# Table 0 is where packets are refused, table 1 where they are delivered.
table=0,priority=0,actions=goto_table:1
table=1,priority=0,actions=normal
";

/// The service that is blocked, and a packet to it.
const BLOCK: &str =
    "table=0,priority=100,cookie=0xb10c,tcp,nw_dst=10.0.0.2,tp_dst=5201,actions=drop";
const PACKET: &str = "in_port=red,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_dst=5201";

fn program(story: &mut Story) -> Outcome {
    story.ports()?;
    story.file("flows.txt", FLOWS)?;
    story.must("cat flows.txt")?;
    story.must("ofctl add-flows br0 flows.txt")?;
    story.must("ofctl show")?;
    Ok("2 ports, 2 flows in 2 tables".to_owned())
}

fn ping(story: &mut Story) -> Outcome {
    let output = story.must("ip netns exec demo-red ping -c 5 -i 0.2 10.0.0.2")?;
    if !output.contains(" 0% packet loss") {
        return Err("some got lost".to_owned());
    }
    let times = output.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
    let average = times.and_then(|times| times.split('/').nth(1)).unwrap_or("?");
    Ok(format!("5 of 5 came back, after {average} ms on average"))
}

fn tcp(story: &mut Story) -> Outcome {
    story.start("ip netns exec demo-blue iperf3 --server", "iperf3.log")?;
    story.until_listens("blue", 5201)?;
    let there = iperf3(story, "--time 3")?;
    let back = iperf3(story, "--time 3 --reverse")?;
    Ok(format!("{there} from red to blue, {back} from blue to red"))
}

/// What one TCP connection carries to the receiver.
fn iperf3(story: &Story, options: &str) -> Outcome {
    let client = "ip netns exec demo-red iperf3 --client 10.0.0.2 --connect-timeout 2000";
    received(&story.must(&format!("{client} {options}"))?)
}

fn block(story: &mut Story) -> Outcome {
    story.must(&format!("ofctl add-flow br0 '{BLOCK}'"))?;
    let client = "ip netns exec demo-red iperf3 --client 10.0.0.2 --connect-timeout 1000";
    story.must_not(client, "iperf3 gets through")?;
    story.must("ip netns exec demo-red ping -c 2 -i 0.2 10.0.0.2")?;
    Ok("iperf3 cannot connect, ping still can".to_owned())
}

fn trace(story: &mut Story) -> Outcome {
    let output = story.must(&format!("ofctl trace br0 '{PACKET}'"))?;
    if !output.contains("0xb10c") {
        return Err("the trace does not name the flow".to_owned());
    }
    Ok("it names the flow, its cookie 0xb10c, and the drop".to_owned())
}

fn counters(story: &mut Story) -> Outcome {
    let flows = story.must("ofctl dump-flows br0")?;
    let ports = story.must("ofctl dump-ports br0")?;
    story.must("ofctl dump-cache br0")?;
    if !ports.contains("flow-drop") {
        return Err("dump-ports does not say why packets were dropped".to_owned());
    }
    let packets = flows
        .lines()
        .find(|line| line.contains("0xb10c"))
        .and_then(|line| line.split(", ").find_map(|part| part.trim().strip_prefix("n_packets=")));
    match packets.map(str::parse::<u64>) {
        Some(Ok(packets @ 1..)) => {
            Ok(format!("{packets} met the flow, counted as drops of port red"))
        }
        _ => Err("the flow has counted nothing".to_owned()),
    }
}

fn unblock(story: &mut Story) -> Outcome {
    story.must("ofctl del-flows br0 cookie=0xb10c/-1")?;
    let rate = iperf3(story, "--time 1")?;
    Ok(format!("{rate} again"))
}
