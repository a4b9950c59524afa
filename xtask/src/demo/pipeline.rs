//! A pipeline of forty tables: services, affinity, failover, meters and policies.

use std::collections::BTreeSet;

use super::{Outcome, Play, Pod, Story, received};

pub(super) const PLAY: Play = Play {
    pods: &[
        Pod { port: "client", number: 1 },
        Pod { port: "web1", number: 11 },
        Pod { port: "web2", number: 12 },
        Pod { port: "web3", number: 13 },
    ],
    parts: &[
        ("A client and three web servers", Story::network),
        ("The switch", Story::switch),
        ("Forty tables, in one transaction", program),
        ("The servers", servers),
        ("A service answers ARP and ping", answer),
        ("A service of three backends, by a select group", service),
        ("Affinity: learned flows", learned),
        ("Why? The trace of such a connection", trace),
        ("From the cache back to the flows", detrace),
        ("A policy: conjunctions of sources and ports", policy),
        ("A meter", meter),
        ("A backend fails", failover),
        ("A transaction with a mistake in it", mistake),
    ],
};

const PIPELINE: &str = include_str!("pipeline.flows");
const TABLES: usize = 40;

/// A connection to the service that all backends share.
const SYN: &str = "in_port=client,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:63,tcp,\
                   nw_src=10.0.0.1,nw_dst=10.0.0.100,nw_ttl=64,tp_src=40000,tp_dst=80,tcp_flags=syn";

fn program(story: &mut Story) -> Outcome {
    story.ports()?;
    story.file("pipeline.txt", PIPELINE)?;
    story.must("cat pipeline.txt")?;
    story.must("ofctl bundle br0 pipeline.txt")?;
    story.must("ofctl dump-groups br0")?;
    story.must("ofctl dump-meters br0")?;
    let of_flow = |line: &'static str| line.strip_prefix("flow table=")?.split(',').next();
    let tables: Vec<_> = PIPELINE.lines().filter_map(of_flow).collect();
    let used = tables.iter().collect::<BTreeSet<_>>().len();
    Ok(format!("{} flows in {used} tables; packets fill {} more", tables.len(), TABLES - used))
}

fn servers(story: &mut Story) -> Outcome {
    for web in ["web1", "web2", "web3"] {
        story
            .must(&format!("mkdir -p {web} && echo '{web} at your service' > {web}/index.html"))?;
        let server = format!("ip netns exec demo-{web} busybox httpd -f -p 80 -h {web}");
        story.start(&server, &format!("{web}.log"))?;
        story.until_listens(web, 80)?;
    }
    Ok("busybox httpd at port 80 of each".to_owned())
}

fn answer(story: &mut Story) -> Outcome {
    let output = story.must("ip netns exec demo-client ping -c 3 -i 0.2 10.0.0.100")?;
    story.must("ip -n demo-client neighbour show")?;
    match output.contains(" 0% packet loss") {
        true => Ok("3 of 3 came back, from the switch itself".to_owned()),
        false => Err("some got lost".to_owned()),
    }
}

/// What a service says to the client.
fn get(story: &Story, address: &str) -> Outcome {
    let get = "ip netns exec demo-client curl --silent --show-error --max-time 3";
    Ok(story.must(&format!("{get} http://{address}/"))?.trim().to_owned())
}

fn service(story: &mut Story) -> Outcome {
    let said = get(story, "10.0.0.100")?;
    for _ in 0..4 {
        let again = get(story, "10.0.0.100")?;
        if again != said {
            return Err(format!("{again:?}, and before {said:?}"));
        }
    }
    story.must("ofctl dump-group-stats br0 group_id=1")?;
    Ok(format!("five connections: {said:?} each time"))
}

fn learned(story: &mut Story) -> Outcome {
    let affinity = story.must("ofctl dump-flows br0 table=17")?;
    story.must("ofctl dump-flows br0 table=13")?;
    story.must("ofctl dump-flows br0 table=31")?;
    match affinity.lines().filter(|line| line.contains("table=17")).count() {
        1 => {
            Ok("one flow leads the client to its backend; each connection has a way back"
                .to_owned())
        }
        flows => Err(format!("{flows} flows for one client")),
    }
}

fn trace(story: &mut Story) -> Outcome {
    let output = story.must(&format!("ofctl trace br0 '{SYN}'"))?;
    for part in ["conj. priority=100", "check_pkt_larger", "output:NXM_NX_REG2[0..15]"] {
        if !output.contains(part) {
            return Err(format!("`{part}` is not in the trace"));
        }
    }
    let passes = output.lines().filter(|line| line.contains("Megaflow:")).count();
    let tables = output.lines().filter(|line| is_table(line)).count();
    Ok(format!("{tables} tables in {passes} passes, clauses of conjunctions included"))
}

/// Whether a line of a trace is a table: ` 7. ip, priority 5`.
fn is_table(line: &str) -> bool {
    let number = line.trim_start().split_once(". ").map(|(number, _)| number);
    number.is_some_and(|number| number.parse::<u8>().is_ok())
}

fn detrace(story: &mut Story) -> Outcome {
    get(story, "10.0.0.100")?;
    let line = "ofctl dump-cache br0 --tier megaflow | grep tcp.*nw_dst=10.0.0.100 | head -1";
    story.must(line)?;
    let output = story.must(&format!("{line} | xargs -d '\\n' ofctl detrace"))?;
    let flows = output.lines().filter(|line| line.contains("n_packets=")).count();
    match flows {
        0 => Err("no flow is named".to_owned()),
        flows => Ok(format!("an entry of the cache is {flows} flows at once")),
    }
}

fn policy(story: &mut Story) -> Outcome {
    let server = "ip netns exec demo-web1 busybox httpd -f -p 8080 -h web1";
    story.start(server, "denied.log")?;
    story.until_listens("web1", 8080)?;
    let get = "ip netns exec demo-client curl --silent --show-error --max-time 1 http://10.0.0.11";
    story.must(get)?;
    story.must_not(&format!("{get}:8080/"), "port 8080 is open")?;
    // What comes between are the client's attempts at IPv6.
    let drops =
        story.must("ofctl explain-drop br0 client | grep --after-context 11 tp_dst=8080")?;
    if !drops.contains("0xde11") {
        return Err("the drop does not name the flow".to_owned());
    }
    Ok("port 80 is open, 8080 is not, and explain-drop says which flow it was".to_owned())
}

fn meter(story: &mut Story) -> Outcome {
    story.start("ip netns exec demo-web1 iperf3 --server --port 5202", "iperf3.log")?;
    story.until_listens("web1", 5202)?;
    let client = "ip netns exec demo-client iperf3 --client 10.0.0.11 --port 5202";
    let output = story.must(&format!("{client} --udp --bitrate 100M --length 1400 --time 3"))?;
    story.must("ofctl meter-stats br0")?;
    Ok(format!("of 100 Mbits/sec {} arrive, by a meter of 20", received(&output)?))
}

fn failover(story: &mut Story) -> Outcome {
    let before = get(story, "10.0.0.101")?;
    story.must("ofctl mod-port br0 web1 down")?;
    let without = get(story, "10.0.0.101")?;
    story.must("ofctl mod-port br0 web1 up")?;
    let after = get(story, "10.0.0.101")?;
    let name = |said: &str| said.split(' ').next().unwrap_or_default().to_owned();
    match [name(&before), name(&without), name(&after)].each_ref().map(String::as_str) {
        ["web1", "web2", "web1"] => Ok("web1, without it web2, and web1 again".to_owned()),
        other => Err(format!("{other:?}")),
    }
}

fn mistake(story: &mut Story) -> Outcome {
    const MISTAKE: &str = "\
group group_id=9,type=indirect,bucket=actions=web1
flow table=15,priority=200,tcp,tp_dst=443,actions=group:9
flow table=15,priority=200,tcp,tp_dst=8443,actions=group:10
";
    story.file("mistake.txt", MISTAKE)?;
    story.must("cat mistake.txt")?;
    story.must_not("ofctl bundle br0 mistake.txt", "a group that is not there is led to")?;
    let groups = story.must("ofctl dump-groups br0")?;
    match groups.contains("group_id=9") {
        true => Err("the half of it was done".to_owned()),
        false => Ok("refused with its place, and nothing has changed".to_owned()),
    }
}
