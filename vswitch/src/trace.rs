//! `ofctl trace`: the translation of one packet, written down as it happens.

use api::reply::{Tier, Trace, TraceEntry, TraceFlow, TraceNode, TracePass, TraceStep, Verdict};
use api::{Action, DropReason, Match, PortNames, TableId};
use flowtable::{Decision, Note, Op, PortView, Record, Rule, Tables, Translation};
use packet::{Headers, Key, PortId};

use crate::describe::{self, Names};
use crate::session;

/// Bytes of a trace: a packet may pass thousands of flows with thousands of actions each.
const MOST_TEXT: usize = 4 << 20;

/// Writes a translation down, as a tree: a table's actions lie below it, and so does the table that
/// one of them goes to.
struct Recorder<'a> {
    steps: Vec<TraceStep>,
    /// Bytes of text that may still be written.
    room: usize,
    /// How deep the current table lies.
    depth: u32,
    /// How deep the tables lie that go on when a resubmit or a clone is over.
    outer: Vec<u32>,
    /// Whether the next table is one that the current one goes to.
    goes_on: bool,
    names: &'a dyn PortNames,
}

impl Recorder<'_> {
    fn step(&mut self, depth: u32, what: TraceNode) {
        if self.room == 0 {
            return;
        }
        // What a step takes beside its text.
        const FRAME: usize = 64;
        self.room = self.room.saturating_sub(FRAME + length(&what));
        self.steps.push(TraceStep { depth, what });
        if self.room == 0 {
            let text = "there is more, and no room for it: the trace is cut here".to_owned();
            self.steps.push(TraceStep { depth: 0, what: TraceNode::Warning { text } });
        }
    }

    fn detail(&mut self, text: String) {
        self.step(self.depth + 1, TraceNode::Detail { text });
    }

    fn warning(&mut self, text: &str) {
        self.step(self.depth + 1, TraceNode::Warning { text: text.to_owned() });
    }
}

fn decision_in_words(decision: &Decision) -> String {
    match decision {
        Decision::Meter(_) => "the pass ends here: a meter decides".to_owned(),
        Decision::Larger { len, .. } => {
            format!("the pass ends here: is the packet longer than {len} bytes?")
        }
        Decision::Select(selector) => {
            format!("a copy's pass ends here: its hash selects a bucket of {}", selector.group())
        }
        Decision::Pause(_) => "the pass ends here: a watcher decides".to_owned(),
        Decision::Nothing => "the pass ends here".to_owned(),
    }
}

fn length(what: &TraceNode) -> usize {
    match what {
        TraceNode::Bridge { name } => name.len(),
        TraceNode::Table { flow, .. } => flow.as_ref().map_or(0, |flow| flow.matching.len()),
        TraceNode::Action { text }
        | TraceNode::Detail { text }
        | TraceNode::Warning { text }
        | TraceNode::Error { text } => text.len(),
    }
}

impl Record for Recorder<'_> {
    fn bridge(&mut self, name: &str) {
        self.step(0, TraceNode::Bridge { name: name.to_owned() });
    }

    fn table(&mut self, table: TableId, rule: Option<&Rule>) {
        self.depth += u32::from(std::mem::replace(&mut self.goes_on, false));
        let flow = rule.map(|rule| TraceFlow {
            id: rule.id.0,
            matching: rule.matching().print(self.names).to_string(),
            priority: rule.priority,
            cookie: rule.cookie,
        });
        self.step(self.depth, TraceNode::Table { table, flow });
        if rule.is_some_and(|rule| rule.actions.is_empty()) {
            self.step(self.depth + 1, TraceNode::Action { text: "drop".to_owned() });
        }
    }

    fn action(&mut self, action: &Action) {
        self.step(self.depth + 1, TraceNode::Action { text: action.print(self.names).to_string() });
        self.goes_on = matches!(action, Action::GotoTable(_));
    }

    fn enter(&mut self) {
        self.outer.push(self.depth);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth = self.outer.pop().unwrap_or(self.depth);
        self.goes_on = false;
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Sent(_) | Note::Drop(DropReason::TableMiss | DropReason::FlowDrop) => {}
            Note::Missed(miss) => {
                self.step(self.depth + 1, TraceNode::Action { text: miss.to_string() });
            }
            Note::Vlan(0) => self.detail("in no VLAN".to_owned()),
            Note::Vlan(vid) => self.detail(format!("in VLAN {vid}")),
            Note::Learned(station) => self.detail(format!("would learn {} here", station.mac)),
            Note::Flooded => self.detail("destination not learned, flooding".to_owned()),
            Note::Known(port) => self.detail(format!("destination learned on port {}", port.name)),
            Note::Frozen(decision) => self.detail(decision_in_words(decision)),
            Note::Thawed(_) => self.detail("goes on behind the decision".to_owned()),
            Note::NoLiveBucket => {}
            Note::Taught(rule) => self.detail(format!("would learn: {}", rule.flow_mod())),
            Note::Remembered(rule) => self.detail(format!("knows already: {}", rule.flow_mod())),
            Note::NotTaught => self.warning("there is no room to learn another flow"),
            Note::EmptyStack => self.warning("the stack is empty"),
            Note::TtlExpired => self.warning("no hop is left: this list of actions ends here"),
            Note::Drop(reason) => self.warning(reason.sentence()),
        }
    }
}

/// What would become of a packet with this key and headers that comes in by `port`. Nothing is
/// learned or counted.
pub fn trace(tables: &Tables, port: &PortView, key: &Key, headers: Option<Headers>) -> Trace {
    let Some(bridge) = tables.bridge(port.bridge) else {
        return Trace {
            passes: Vec::new(),
            verdict: Verdict::Dropped(DropReason::Closed),
            entries: Vec::new(),
        };
    };
    let names = Names(&bridge.ports);
    let name_of = |id: PortId| {
        bridge.ports.by_id(id).map_or_else(|| format!("port {id}"), |port| port.name.to_string())
    };
    let mut recorder = Recorder {
        steps: Vec::new(),
        room: MOST_TEXT,
        depth: 1,
        outer: Vec::new(),
        goes_on: false,
        names: &names,
    };
    let mut translation = Translation::new();
    translation.translate(tables, port, key, &mut recorder);
    let megaflow = describe::megaflow(&(*key & translation.looked), &translation.looked, &names);
    let actions = describe::program(&translation.ops, &name_of);
    if let [Op::Drop(reason)] = *translation.ops
        && matches!(
            reason,
            DropReason::ResubmitDepth
                | DropReason::ResubmitLimit
                | DropReason::ProgramLimit
                | DropReason::VlanTags
        )
    {
        recorder.step(0, TraceNode::Error { text: reason.sentence().to_owned() });
    }
    let cached = translation.is_cacheable() && translation.lessons.is_empty();
    let entry = |tier, mask: &Key| TraceEntry {
        tier,
        matching: describe::megaflow(&(*key & *mask), mask, &names),
        actions: actions.clone(),
    };
    let mut entries = Vec::new();
    if cached {
        // What upper tiers have comes first, as packets meet it.
        let session =
            headers.and_then(|headers| session::compared(key, headers, &translation.looked));
        entries.extend(session.map(|mask| entry(Tier::Session, &mask)));
        entries.push(entry(Tier::Megaflow, &translation.looked));
    }
    let pass = TracePass {
        flow: flow_text(key, &names),
        steps: recorder.steps,
        final_flow: flow_text(&translation.last, &names),
        megaflow,
        actions: actions.clone(),
    };
    Trace { passes: vec![pass], verdict: verdict(&translation.ops, &name_of), entries }
}

/// All that is known of a packet, as the text of a match.
pub(crate) fn flow_text(key: &Key, names: &dyn PortNames) -> String {
    Match::exactly(key).print(names).to_string()
}

fn verdict(ops: &[Op], name_of: &dyn Fn(PortId) -> String) -> Verdict {
    let sent: Vec<_> = ops
        .iter()
        .filter_map(|op| match op {
            Op::Output(port) | Op::Send(port) => Some(name_of(*port)),
            _ => None,
        })
        .collect();
    match (sent.is_empty(), ops.last()) {
        (true, Some(Op::Drop(reason))) => Verdict::Dropped(*reason),
        _ => Verdict::Sent(sent),
    }
}
