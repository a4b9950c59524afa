//! `cargo xtask demo`: two namespaces talk through the switch, and everything is shown as it would be
//! typed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Verdict};
use crate::stage::{PODS, SWITCH, Stage};
use crate::tools;
use crate::workspace::Workspace;

const CONFIG: &str = "\
# One bridge; what it has no flow for, it drops.
state = ''

[[bridge]]
name = 'br0'
";

const FLOWS: &str = "\
# Table 0 is where packets are refused, table 1 where they are delivered.
table=0,priority=0,actions=goto_table:1
table=1,priority=0,actions=normal
";

/// The service that is blocked, and a packet to it.
const BLOCK: &str =
    "table=0,priority=100,cookie=0xb10c,tcp,nw_dst=10.0.0.2,tp_dst=5201,actions=drop";
const PACKET: &str = "in_port=red,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_dst=5201";

/// Plays it, and says how each part went.
pub(crate) fn run(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    tools::install_for_tests(report);
    let built = report.step("build, optimised", |step| {
        let job = Job::cargo("build --release -p vswitch -p ofctl");
        let again = job.line();
        let ended = job.run(step)?;
        Ok(match ended.failure {
            None => Verdict::done("vswitchd and ofctl"),
            Some(how) => Verdict::failed(how, ended.output).advise(format!("Again: {again}")),
        })
    });
    if !built {
        return Ok(());
    }
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let flag = Arc::clone(&stopped);
        let registered = signal_hook::flag::register(signal, flag);
        registered.map_err(|source| Error::Start { program: "the demo".to_owned(), source })?;
    }
    let stage = Stage::new(&workspace.target("release"))?;
    let mut story = Story { stage, stopped, rows: Vec::new() };
    story.play(report);
    let Story { rows, stage, .. } = story;
    drop(stage);
    say(table(&rows).trim_end());
    Ok(())
}

/// What is told, part by part.
struct Story {
    stage: Stage,
    /// Whether somebody has pressed Ctrl-C.
    stopped: Arc<AtomicBool>,
    rows: Vec<[String; 3]>,
}

/// A part has failed: why.
type Outcome = Result<String, String>;
/// A part; it answers what came out.
type Part = fn(&mut Story) -> Outcome;

impl Story {
    fn play(&mut self, report: &mut Report) {
        let parts: [(&str, Part); 9] = [
            ("Two pods, not connected", Self::network),
            ("The switch", Self::switch),
            ("A port for each pod, and flows", Self::program),
            ("Ping", Self::ping),
            ("TCP, both ways", Self::tcp),
            ("A flow blocks a service", Self::block),
            ("Why? The trace of such a packet", Self::trace),
            ("What was counted", Self::counters),
            ("The flow is gone, the service is back", Self::unblock),
        ];
        for (title, part) in parts {
            if !self.part(title, part, report) {
                // What comes next stands on it.
                break;
            }
        }
        self.part("The end: nothing is left", Self::end, report);
    }

    fn part(&mut self, title: &str, part: Part, report: &mut Report) -> bool {
        let number = self.rows.len() + 1;
        say(&bold(&format!("\n{number}. {title}")));
        report.told(title, |_| {
            let outcome = part(self);
            let (good, note) = match &outcome {
                Ok(note) => ("ok", note.clone()),
                Err(why) => ("FAILED", why.lines().next().unwrap_or_default().to_owned()),
            };
            self.rows.push([title.to_owned(), good.to_owned(), note.clone()]);
            let log = self.stage.read("vswitchd.log");
            Ok(match outcome {
                Ok(_) => Verdict::passed(note),
                Err(why) => Verdict::failed("", format!("{why}\n\nvswitchd says:\n{log}")),
            })
        })
    }

    /// Shows a line and what it prints.
    fn shown(&self, line: &str) -> Result<(bool, String), String> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err("stopped".to_owned());
        }
        say(&format!("  {} {line}", bold("$")));
        let (good, output) = self.stage.run(line).map_err(|error| error.to_string())?;
        output.lines().for_each(|line| say(&format!("    {line}")));
        Ok((good, output))
    }

    /// The same of a line that must succeed.
    fn must(&self, line: &str) -> Outcome {
        match self.shown(line)? {
            (true, output) => Ok(output),
            (false, output) => Err(format!("`{line}` fails: {output}")),
        }
    }

    fn network(&mut self) -> Outcome {
        self.must(&format!("ip netns add {SWITCH}"))?;
        for (pod, number) in PODS.into_iter().zip(1..) {
            let port = pod.trim_start_matches("demo-");
            self.must(&format!("ip netns add {pod}"))?;
            self.must(&format!(
                "ip -n {SWITCH} link add {port} type veth peer name eth0 netns {pod}"
            ))?;
            self.must(&format!("ip -n {SWITCH} link set {port} up"))?;
            self.must(&format!(
                "ip -n {pod} address add 10.0.0.{number}/24 dev eth0 && ip -n {pod} link set eth0 up"
            ))?;
        }
        Ok("demo-red is 10.0.0.1, demo-blue is 10.0.0.2".to_owned())
    }

    fn switch(&mut self) -> Outcome {
        self.stage.write("vswitch.toml", CONFIG).map_err(|error| error.to_string())?;
        self.must("cat vswitch.toml")?;
        let socket = self.stage.file("vswitch.sock");
        let line = format!(
            "ip netns exec {SWITCH} vswitchd --config vswitch.toml --socket {}",
            socket.display()
        );
        say(&format!("  {} {line} &", bold("$")));
        self.stage.start(&line, "vswitchd.log").map_err(|error| error.to_string())?;
        self.until("the socket", || socket.exists())?;
        let version = self.must("ofctl version")?;
        Ok(version.lines().last().unwrap_or_default().to_owned())
    }

    /// Waits, though not for long.
    fn until(&self, what: &str, is_there: impl Fn() -> bool) -> Result<(), String> {
        for _ in 0..200 {
            if is_there() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{what} is not there after ten seconds"))
    }

    fn program(&mut self) -> Outcome {
        for port in ["red", "blue"] {
            self.must(&format!("ofctl add-port br0 {port} --type pod"))?;
        }
        self.stage.write("flows.txt", FLOWS).map_err(|error| error.to_string())?;
        self.must("cat flows.txt")?;
        self.must("ofctl add-flows br0 flows.txt")?;
        self.must("ofctl show")?;
        Ok("2 ports, 2 flows in 2 tables".to_owned())
    }

    fn ping(&mut self) -> Outcome {
        let output = self.must("ip netns exec demo-red ping -c 5 -i 0.2 10.0.0.2")?;
        if !output.contains(" 0% packet loss") {
            return Err("some got lost".to_owned());
        }
        let times = output.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
        let average = times.and_then(|times| times.split('/').nth(1)).unwrap_or("?");
        Ok(format!("5 of 5 came back, after {average} ms on average"))
    }

    fn tcp(&mut self) -> Outcome {
        let server = "ip netns exec demo-blue iperf3 --server";
        say(&format!("  {} {server} &", bold("$")));
        self.stage.start(server, "iperf3.log").map_err(|error| error.to_string())?;
        let listens = "ip netns exec demo-blue ss --listening --tcp --numeric | grep -q :5201";
        self.until("iperf3", || self.stage.run(listens).is_ok_and(|(good, _)| good))?;
        let there = self.iperf3("--time 3")?;
        let back = self.iperf3("--time 3 --reverse")?;
        Ok(format!("{there} from red to blue, {back} from blue to red"))
    }

    /// What one TCP connection carries to the receiver.
    fn iperf3(&self, options: &str) -> Outcome {
        let client = "ip netns exec demo-red iperf3 --client 10.0.0.2 --connect-timeout 2000";
        let output = self.must(&format!("{client} {options}"))?;
        let line = output.lines().find(|line| line.ends_with("receiver"));
        let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
        match words.iter().position(|word| word.ends_with("bits/sec")) {
            Some(at) if at > 0 => Ok(words[at - 1..=at].join(" ")),
            _ => Err("iperf3 does not say what was received".to_owned()),
        }
    }

    fn block(&mut self) -> Outcome {
        self.must(&format!("ofctl add-flow br0 '{BLOCK}'"))?;
        let client = "ip netns exec demo-red iperf3 --client 10.0.0.2 --connect-timeout 1000";
        if self.shown(client)?.0 {
            return Err("iperf3 gets through".to_owned());
        }
        self.must("ip netns exec demo-red ping -c 2 -i 0.2 10.0.0.2")?;
        Ok("iperf3 cannot connect, ping still can".to_owned())
    }

    fn trace(&mut self) -> Outcome {
        let output = self.must(&format!("ofctl trace br0 '{PACKET}'"))?;
        if !output.contains("0xb10c") {
            return Err("the trace does not name the flow".to_owned());
        }
        Ok("it names the flow, its cookie 0xb10c, and the drop".to_owned())
    }

    fn counters(&mut self) -> Outcome {
        let flows = self.must("ofctl dump-flows br0")?;
        let ports = self.must("ofctl dump-ports br0")?;
        self.must("ofctl dump-cache br0")?;
        if !ports.contains("flow-drop") {
            return Err("dump-ports does not say why packets were dropped".to_owned());
        }
        let packets = flows.lines().find(|line| line.contains("0xb10c")).and_then(|line| {
            line.split(", ").find_map(|part| part.trim().strip_prefix("n_packets="))
        });
        match packets.map(str::parse::<u64>) {
            Some(Ok(packets @ 1..)) => {
                Ok(format!("{packets} met the flow, counted as drops of port red"))
            }
            _ => Err("the flow has counted nothing".to_owned()),
        }
    }

    fn unblock(&mut self) -> Outcome {
        self.must("ofctl del-flows br0 cookie=0xb10c/-1")?;
        let rate = self.iperf3("--time 1")?;
        Ok(format!("{rate} again"))
    }

    fn end(&mut self) -> Outcome {
        say(&format!("  {} kill %iperf3 %vswitchd", bold("$")));
        let ended = self.stage.end_processes();
        let left = self.stage.remove_namespaces();
        match (ended, left.as_slice()) {
            (Some(status), []) if status.success() => {
                Ok("vswitchd has ended well, the namespaces are gone".to_owned())
            }
            (_, [_, ..]) => Err(format!("namespaces are left: {left:?}")),
            (Some(status), []) => Err(format!("vswitchd has ended badly: {status}")),
            (None, []) => Err("vswitchd had to be killed, or never ran".to_owned()),
        }
    }
}

/// What has happened, in columns.
fn table(rows: &[[String; 3]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let (first, second) = (width(0), width(1));
    let mut text =
        format!("\n{}\n", bold(&format!("{:first$}  {:second$}  {}", "Part", "", "Result")));
    for [title, good, note] in rows {
        let _ = writeln!(text, "{title:first$}  {good:second$}  {note}");
    }
    text
}

fn bold(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal();
    if plain { text.to_owned() } else { format!("\x1b[1m{text}\x1b[0m") }
}

/// Prints a line. Whoever reads may have gone, and the demo must still tidy up.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
