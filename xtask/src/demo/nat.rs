//! A client that is hidden, a service that is somebody else: connections, translated.

use super::{Outcome, Play, Pod, Story, received};

pub(super) const PLAY: Play = Play {
    pods: &[
        Pod { port: "client", number: 1 },
        Pod { port: "web1", number: 11 },
        Pod { port: "web2", number: 12 },
        Pod { port: "outside", number: 20 },
    ],
    parts: &[
        ("A client, two backends, and the world outside", Story::network),
        ("The switch", Story::switch),
        ("A service in zone 1, the way out in zone 2", program),
        ("Servers", servers),
        ("A service of two backends (DNAT)", service),
        ("Outside nobody knows the client (SNAT)", hidden),
        ("Nobody outside begins anything", uninvited),
        ("A DNS answer that is longer than the MTU", fragments),
        ("FTP: connections that another one announces", ftp),
        ("The connections", connections),
        ("A session: both directions of one, explained", session),
    ],
};

const FLOWS: &str = include_str!("nat.flows");
/// The switch's backends, by what a connection hashes to.
const GROUP: &str = "group_id=1,type=select,\
                     bucket=actions=ct(commit,zone=1,nat(dst=10.0.0.11:8080),table=2),\
                     bucket=actions=ct(commit,zone=1,nat(dst=10.0.0.12:8080),table=2)";
const CLIENT: &str = "ip netns exec demo-client";
const OUTSIDE: &str = "ip netns exec demo-outside";
/// A name whose texts are too long for a packet.
const TEXTS: usize = 16;

fn program(story: &mut Story) -> Outcome {
    story.ports()?;
    story.must(&format!("ofctl add-group br0 '{GROUP}'"))?;
    story.file("nat.txt", FLOWS)?;
    story.must("cat nat.txt")?;
    story.must("ofctl add-flows br0 nat.txt")?;
    let flows = FLOWS.lines().filter(|line| line.contains("actions=")).count();
    Ok(format!("{flows} flows and a group"))
}

fn servers(story: &mut Story) -> Outcome {
    for (pod, port) in [("web1", 8080), ("web2", 8080), ("outside", 80)] {
        story
            .must(&format!("mkdir -p {pod} && echo '{pod} at your service' > {pod}/index.html"))?;
        let server = format!("ip netns exec demo-{pod} busybox httpd -f -vv -p {port} -h {pod}");
        story.start(&server, &format!("{pod}.log"))?;
        story.until_listens(pod, port)?;
    }
    let texts: String = (0..TEXTS).map(|n| format!("txt-record=big.demo,{n:0>200}\n")).collect();
    story.file("dns.conf", &format!("edns-packet-max=4096\n{texts}"))?;
    let dns = "dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file --conf-file=dns.conf";
    story.start(&format!("{OUTSIDE} {dns}"), "dns.log")?;
    story.until_listens("outside", 53)?;
    Ok("busybox httpd in three places, and dnsmasq outside".to_owned())
}

/// What a web server says to the client.
fn get(story: &Story, address: &str) -> Outcome {
    let get = format!("{CLIENT} curl --silent --show-error --max-time 3 http://{address}/");
    Ok(story.must(&get)?.trim().to_owned())
}

fn service(story: &mut Story) -> Outcome {
    let mut said = std::collections::BTreeMap::new();
    for _ in 0..20 {
        *said.entry(get(story, "10.0.0.100")?).or_insert(0) += 1;
        if said.len() == 2 {
            break;
        }
    }
    story.must("ofctl dump-conntrack zone=1")?;
    match said.len() {
        2 => Ok("both backends have answered as 10.0.0.100".to_owned()),
        _ => Err(format!("of twenty connections none went to the other backend: {said:?}")),
    }
}

fn hidden(story: &mut Story) -> Outcome {
    get(story, "10.0.0.20")?;
    let log = story.must("cat outside.log")?;
    match log.contains("10.0.0.97") && !log.contains("10.0.0.1:") {
        true => Ok("the server outside has seen 10.0.0.97, and nobody else".to_owned()),
        false => Err("the server outside has seen somebody else".to_owned()),
    }
}

fn uninvited(story: &mut Story) -> Outcome {
    let get = "curl --silent --show-error --max-time 1 http://10.0.0.97:80/";
    story
        .must_not(&format!("{OUTSIDE} {get}"), "somebody answers at the client's other address")?;
    story.must("ofctl explain-drop br0 outside")?;
    let output = story.must("ofctl dump-flows br0 cookie=0xbad/-1")?;
    match output.contains("n_packets=0,") {
        false => Ok("dropped by the last flow of table 4".to_owned()),
        true => Err("no packet was dropped there".to_owned()),
    }
}

fn fragments(story: &mut Story) -> Outcome {
    // Nothing else asks zone 2 for fragments: what comes in pieces leaves in pieces.
    let capture =
        format!("{CLIENT} timeout 5 tcpdump -nn -v -c 4 -i eth0 'udp or ip[6:2] & 0x3fff != 0'");
    story.start(&capture, "fragments.log")?;
    story.until("tcpdump", || story.stage.read("fragments.log").contains("listening"))?;
    let dig = format!(
        "{CLIENT} dig +bufsize=4096 +ignore +notcp +stats +noall +answer big.demo TXT @10.0.0.20"
    );
    let output = story.must(&dig)?;
    story.until("the capture", || story.stage.read("fragments.log").contains("captured"))?;
    story.must("cat fragments.log")?;
    let answers = output.lines().filter(|line| line.contains("TXT")).count();
    let parts = story.stage.read("fragments.log").matches("offset 1480").count();
    match (answers, parts) {
        (TEXTS, 1..) => {
            Ok(format!("{TEXTS} texts of 200 letters, in fragments, through the way out"))
        }
        (TEXTS, _) => Err("the answer did not come in fragments".to_owned()),
        _ => Err(format!("{answers} of {TEXTS} texts have come")),
    }
}

/// A server of whoever asks, for files in `ftp`.
const FTP: &str = "\
listen=YES
listen_ipv6=NO
background=NO
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
anon_root=/tmp/vswitch-demo/ftp
secure_chroot_dir=/tmp/vswitch-demo/empty
connect_from_port_20=YES
seccomp_sandbox=NO
";

fn ftp(story: &mut Story) -> Outcome {
    story.file("ftp.conf", FTP)?;
    let file = "mkdir -p ftp empty && chmod 755 . ftp && head -c 3000000 /dev/urandom > ftp/file";
    story.must(file)?;
    story.start(&format!("{OUTSIDE} vsftpd /tmp/vswitch-demo/ftp.conf"), "ftp.log")?;
    story.until_listens("outside", 21)?;
    for (way, options) in [("active", "--ftp-port -"), ("passive", "--ftp-pasv")] {
        let get = format!("curl --silent --show-error --max-time 10 {options} -o {way}");
        story.must(&format!("{CLIENT} {get} ftp://10.0.0.20/file && cmp {way} ftp/file"))?;
    }
    let output = story.must("ofctl dump-conntrack zone=2 -m | grep -e helper -e parent")?;
    match output.contains("parent=") {
        true => Ok("a file of 3 MB came twice: the server called back, and was called".to_owned()),
        false => Err("no connection was announced".to_owned()),
    }
}

fn connections(story: &mut Story) -> Outcome {
    story.must("ofctl dump-conntrack")?;
    let output = story.must("ofctl ct-stats -m")?;
    Ok(output.lines().next().unwrap_or_default().to_owned())
}

fn session(story: &mut Story) -> Outcome {
    story.start(&format!("{OUTSIDE} iperf3 --server --one-off"), "iperf3.log")?;
    story.until_listens("outside", 5201)?;
    let client = format!("{CLIENT} iperf3 --client 10.0.0.20 --time 3");
    story.start(&client, "stream.log")?;
    story.until("a session", || {
        let line = "ofctl dump-sessions | grep -q tp_dst=5201";
        story.stage.run(line).is_ok_and(|(good, _)| good)
    })?;
    let output = story.must("ofctl dump-sessions")?;
    if !output.contains("10.0.0.97") {
        return Err("no session is translated".to_owned());
    }
    let ended = || story.stage.read("stream.log").contains("receiver");
    story.until("the end of the stream", ended)?;
    let rate = received(&story.must("tail -n 4 stream.log")?)?;
    let output = story.must("ofctl worker-stats")?;
    let hits = output.lines().find(|line| line.contains("session")).unwrap_or_default().trim();
    Ok(format!("{rate} through two zones; {hits}"))
}
