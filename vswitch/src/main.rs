//! `vswitchd`: the switch as a process.

use std::io::{self, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use flowtable::Limits;
use hw::shortcut::Generation;
use hw::{AddressMonitor, LargeInHugePages, LinkMonitor};
use packet::{Depot, Seed};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGINT, SIGTERM};
use vswitch::cli::{Arguments, Level, LogFormat};
use vswitch::clock::Clock;
use vswitch::config::{BusyPoll, Config};
use vswitch::control::{Control, Plan};
use vswitch::crew::Common;
use vswitch::numbers::Numbers;
use vswitch::server::{Listener, Server};
use vswitch::setup;

/// What packets are looked up in is large, and met in no order.
#[global_allocator]
static ALLOCATOR: LargeInHugePages = LargeInHugePages;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vswitchd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut config = match &arguments.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if let Some(socket) = &arguments.socket {
        config.socket.clone_from(socket);
    }
    if arguments.check {
        setup::check(&config)?;
        println!("all is well");
        return Ok(());
    }
    begin_log(arguments);
    end_with_a_worker();
    warn_of_missing_capabilities();
    // Before anything else, so that a signal always finds us ready to leave in order.
    let end = signals()?;
    let group = group(&config.group)?;
    let listener = Listener::bind(&config.socket, config.mode, group)
        .with_context(|| format!("cannot listen at {}", config.socket.display()))?;
    let mut control = Control::new(plan(&config)?).context("cannot start the workers")?;
    let links = LinkMonitor::open()?;
    config.nat.reserved_ports.look_at_kernel();
    // No packet passes before they are known.
    let addresses = AddressMonitor::open()?;
    control.set_host_addresses(addresses.addresses());
    setup::set_up(&mut control, &config)?;
    tracing::info!(socket = %config.socket.display(), "ready");
    Server::new(listener, links, end).with_addresses(addresses).run(&mut control)?;
    tracing::info!("ending: interfaces drop what was ours until a switch is back");
    control.stop();
    Ok(())
}

fn plan(config: &Config) -> Result<Plan> {
    let limits = config.limits;
    let memory = hw::memory::map(limits.frames)?;
    let state = Some(config.state.as_path()).filter(|path| !path.as_os_str().is_empty());
    let numbers =
        Numbers::load(state).with_context(|| format!("cannot read {}", config.state.display()))?;
    tracing::info!(
        frames = limits.frames,
        huge_pages = memory.huge,
        workers = config.cpus().len(),
        "memory mapped"
    );
    let common = Common {
        depot: Depot::new(memory.memory),
        clock: Clock::start(),
        limits: Limits { megaflows: limits.megaflows, ..Limits::default() },
        sessions: limits.sessions,
        busy_poll: config.workers.busy_poll == BusyPoll::Always,
        generation: config.workers.short_cuts.then(short_cuts).flatten(),
        connections: limits.connections,
    };
    let seed = random_seed()?;
    Ok(Plan { cpus: config.cpus(), common, seed, table_limit: limits.flows, numbers })
}

/// What ends short-cuts; nothing, and then there are none, where the kernel does not let us.
fn short_cuts() -> Option<Arc<Generation>> {
    match Generation::new() {
        Ok(generation) => Some(Arc::new(generation)),
        Err(error) => {
            tracing::info!(%error, "no short-cuts between pods");
            None
        }
    }
}

/// Hashes begin with a number that nobody outside can know, so that nobody can aim at one bucket.
fn random_seed() -> Result<Seed> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("no random number for the seed of all hashes")?;
    Ok(Seed(u64::from_ne_bytes(bytes)))
}

fn begin_log(arguments: &Arguments) {
    let level = match arguments.log {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
    };
    let log =
        tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_target(false);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// A worker that panics takes the process with it: whatever starts it again begins from a known
/// state, and until then interfaces drop what is ours.
fn end_with_a_worker() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        std::process::abort();
    }));
}

fn warn_of_missing_capabilities() {
    let needed = [
        (
            CapabilitySet::NET_ADMIN,
            "CAP_NET_ADMIN",
            "interfaces cannot be changed, nor programs attached",
        ),
        (CapabilitySet::NET_RAW, "CAP_NET_RAW", "AF_XDP sockets cannot be opened"),
        (CapabilitySet::BPF, "CAP_BPF", "programs for AF_XDP and pods cannot be loaded"),
        (
            CapabilitySet::IPC_LOCK,
            "CAP_IPC_LOCK",
            "the packet memory of AF_XDP counts against RLIMIT_MEMLOCK",
        ),
    ];
    let Ok(own) = rustix::thread::capabilities(None) else { return };
    for (capability, name, without) in needed {
        if !own.effective.contains(capability) {
            tracing::warn!(capability = name, "missing capability: {without}");
        }
    }
}

/// A stream that is readable after SIGTERM or SIGINT.
fn signals() -> Result<UnixStream> {
    let (end, told) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, told.try_clone()?)?;
    }
    Ok(end)
}

/// The number of a group given by name or number.
fn group(name: &str) -> Result<Option<u32>> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let file = Path::new("/etc/group");
    let groups = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let number = |line: &str| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok())?
    };
    match groups.lines().find_map(number) {
        Some(number) => Ok(Some(number)),
        None => bail!("there is no group `{name}`"),
    }
}
