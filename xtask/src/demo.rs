//! `cargo xtask demo`: namespaces talk through the switch, and everything is shown as it would be typed.

mod nat;
mod pipeline;
mod two_pods;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Verdict};
use crate::stage::{SWITCH, Stage};
use crate::tools;
use crate::workspace::Workspace;

/// Which demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is played
    #[arg(default_value = "two-pods")]
    play: Name,
}

/// The plays that there are.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// Two pods talk, a flow keeps them from it, and a trace says why.
    TwoPods,
    /// A pipeline of forty tables: services, affinity, failover, meters and policies.
    Pipeline,
    /// A hidden client and a service of two backends: connections, fragments, FTP, and a session.
    Nat,
}

/// What is played: who takes part, and what happens.
struct Play {
    pods: &'static [Pod],
    parts: &'static [(&'static str, Part)],
}

/// A namespace with an address, behind a port of the switch.
struct Pod {
    /// The port; the namespace is called so behind `demo-`.
    port: &'static str,
    /// The last byte of its addresses: 10.0.0.0/24 and 02:00:00:00:00:00.
    number: u8,
}

/// A part has succeeded or failed: what came out, or why.
type Outcome = Result<String, String>;
/// A part of what is played.
type Part = fn(&mut Story) -> Outcome;

/// Plays it, and says how each part went.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    report: &mut Report,
) -> Result<(), Error> {
    let play = match options.play {
        Name::TwoPods => &two_pods::PLAY,
        Name::Pipeline => &pipeline::PLAY,
        Name::Nat => &nat::PLAY,
    };
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
    let mut story = Story { stage, pods: play.pods, stopped, rows: Vec::new() };
    story.tell(play, report);
    let Story { rows, stage, .. } = story;
    drop(stage);
    say(table(&rows).trim_end());
    Ok(())
}

/// What is told, part by part.
struct Story {
    stage: Stage,
    pods: &'static [Pod],
    /// Whether somebody has pressed Ctrl-C.
    stopped: Arc<AtomicBool>,
    rows: Vec<[String; 3]>,
}

impl Story {
    fn tell(&mut self, play: &Play, report: &mut Report) {
        for (title, part) in play.parts {
            if !self.part(title, *part, report) {
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

    /// The same of a line that must fail: what `what` says must not happen.
    fn must_not(&self, line: &str, what: &str) -> Result<(), String> {
        match self.shown(line)? {
            (true, _) => Err(what.to_owned()),
            (false, _) => Ok(()),
        }
    }

    /// Writes a file on the stage.
    fn file(&self, name: &str, text: &str) -> Result<(), String> {
        self.stage.write(name, text).map_err(|error| error.to_string())
    }

    /// Shows a line that goes on in the background.
    fn start(&mut self, line: &str, log: &str) -> Result<(), String> {
        say(&format!("  {} {line} &", bold("$")));
        self.stage.start(line, log).map_err(|error| error.to_string())
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

    /// Waits until somebody in a pod listens on a TCP port.
    fn until_listens(&self, pod: &str, port: u16) -> Result<(), String> {
        let listens =
            format!("ip netns exec demo-{pod} ss --listening --tcp --numeric | grep -q :{port}");
        self.until(&format!("the server in {pod}"), || {
            self.stage.run(&listens).is_ok_and(|(good, _)| good)
        })
    }

    /// A part of every play: the namespaces.
    fn network(&mut self) -> Outcome {
        self.must(&format!("ip netns add {SWITCH}"))?;
        for Pod { port, number } in self.pods {
            let pod = format!("demo-{port}");
            let mac = format!("02:00:00:00:00:{number:02x}");
            self.must(&format!("ip netns add {pod}"))?;
            self.must(&format!(
                "ip -n {SWITCH} link add {port} type veth peer name eth0 address {mac} netns {pod}"
            ))?;
            self.must(&format!("ip -n {SWITCH} link set {port} up"))?;
            self.must(&format!(
                "ip -n {pod} address add 10.0.0.{number}/24 dev eth0 && ip -n {pod} link set eth0 up"
            ))?;
        }
        let pods = self.pods.iter();
        let addresses = pods.map(|Pod { port, number }| format!("demo-{port} is 10.0.0.{number}"));
        Ok(addresses.collect::<Vec<_>>().join(", "))
    }

    /// A part of every play: `vswitchd`.
    fn switch(&mut self) -> Outcome {
        const CONFIG: &str = "\
# One bridge; what it has no flow for, it drops.
state = ''

[[bridge]]
name = 'br0'
";
        self.file("vswitch.toml", CONFIG)?;
        self.must("cat vswitch.toml")?;
        let socket = self.stage.file("vswitch.sock");
        let line = format!(
            "ip netns exec {SWITCH} vswitchd --config vswitch.toml --socket {}",
            socket.display()
        );
        self.start(&line, "vswitchd.log")?;
        self.until("the socket", || socket.exists())?;
        let version = self.must("ofctl version")?;
        Ok(version.lines().last().unwrap_or_default().to_owned())
    }

    /// The ports of the switch, in the order of the pods.
    fn ports(&self) -> Result<(), String> {
        self.pods.iter().try_for_each(|Pod { port, .. }| {
            self.must(&format!("ofctl add-port br0 {port} --type pod")).map(drop)
        })
    }

    fn end(&mut self) -> Outcome {
        say(&format!("  {} kill all that runs in the background", bold("$")));
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

/// What iperf3 says was received, as `3.14 Gbits/sec`.
fn received(output: &str) -> Outcome {
    let line = output.lines().find(|line| line.ends_with("receiver"));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    match words.iter().position(|word| word.ends_with("bits/sec")) {
        Some(at) if at > 0 => Ok(words[at - 1..=at].join(" ")),
        _ => Err("iperf3 does not say what was received".to_owned()),
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
