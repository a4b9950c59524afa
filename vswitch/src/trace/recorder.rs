//! A translation, written down as it happens.

use api::reply::{TraceFlow, TraceNode, TraceStep};
use api::{Action, DropReason, GroupKind, PortNames, TableId, TableMiss};
use flowtable::{Decision, GroupEntry, Note, Record, Rule, Tables};

use crate::describe::shown;

/// Writes a translation down, as a tree in the shape of `ofproto/trace`: what a table or bucket does
/// lies below it, and so do the tables that its actions lead to, each behind its action.
pub(super) struct Recorder<'a> {
    /// What has been written down.
    pub(super) steps: Vec<TraceStep>,
    /// Bytes of text that may still be written.
    room: &'a mut usize,
    /// Behind what it goes on, in words, if it does.
    behind: Option<&'a str>,
    tables: &'a Tables,
    names: &'a dyn PortNames,
    /// How deep the current table or bucket lies.
    depth: u32,
    /// How deep that lies with which the pass begins.
    base: u32,
    /// How deep the tables lie that go on when a resubmit, a bucket or a clone is over.
    outer: Vec<u32>,
    /// Whether what is entered next lies deeper.
    deepens: bool,
    /// Whether the next table is one that the current one goes to.
    goes_on: bool,
    /// Whether the port that the packet is sent to next was found in a field.
    by_field: bool,
    /// The flows that make clauses hold in the table that is named next.
    clauses: Vec<String>,
}

impl<'a> Recorder<'a> {
    /// One that has written down nothing.
    pub(super) fn new(
        tables: &'a Tables,
        names: &'a dyn PortNames,
        behind: Option<&'a str>,
        room: &'a mut usize,
    ) -> Self {
        Self {
            steps: Vec::new(),
            room,
            behind,
            tables,
            names,
            depth: 1,
            base: 1,
            outer: Vec::new(),
            deepens: false,
            goes_on: false,
            by_field: false,
            clauses: Vec::new(),
        }
    }

    fn step(&mut self, depth: u32, what: TraceNode) {
        if *self.room == 0 {
            return;
        }
        // What a step takes beside its text.
        const FRAME: usize = 64;
        *self.room = self.room.saturating_sub(FRAME + length(&what));
        self.steps.push(TraceStep { depth, what });
        if *self.room == 0 {
            let text = "there is more, and no room for it: the trace is cut here".to_owned();
            self.steps.push(TraceStep { depth, what: TraceNode::Warning { text } });
        }
    }

    fn action_text(&mut self, text: String) {
        self.step(self.depth + 1, TraceNode::Action { text });
    }

    fn detail(&mut self, text: String) {
        self.step(self.depth + 1, TraceNode::Detail { text });
    }

    fn warning(&mut self, text: &str) {
        self.step(self.depth + 1, TraceNode::Warning { text: text.to_owned() });
    }

    /// Why a bucket is taken that was not the only choice.
    fn choice(&mut self, entry: &GroupEntry, at: usize) {
        match entry.group.kind {
            GroupKind::All | GroupKind::Indirect => return,
            GroupKind::FastFailover => self.dead_buckets(entry, at),
            GroupKind::Select => {}
        }
        let id = bucket_id(entry, at);
        self.detail(format!("using bucket {id}"));
    }

    /// The buckets before place `end`, none of which is live.
    fn dead_buckets(&mut self, entry: &GroupEntry, end: usize) {
        for bucket in entry.group.buckets.iter().take(end) {
            let why = match (bucket.watch_port, bucket.watch_group) {
                (Some(port), _) => match self.names.name(port) {
                    Some(name) => format!(" due to port {name}"),
                    None => format!(" due to port {port}"),
                },
                (None, Some(group)) => format!(" due to group {group}"),
                (None, None) => String::new(),
            };
            self.detail(format!("bucket {}: not live{why}", bucket.id));
        }
    }

    fn set(&self, actions: &[&Action]) -> String {
        let texts = actions.iter().map(|action| action.print(self.names).to_string());
        texts.collect::<Vec<_>>().join(",")
    }

    /// Whether a rule is one of the tables', and not one that a packet has just taught.
    fn is_in_table(&self, rule: &Rule) -> bool {
        self.tables.rule(rule.id).is_some_and(|known| std::ptr::eq(&raw const **known, rule))
    }
}

/// Adds that a packet cannot go on, where the last step stands.
pub(super) fn fail(steps: &mut Vec<TraceStep>, reason: DropReason) {
    let text = reason.sentence().to_owned();
    add(steps, TraceNode::Error { text });
}

/// Adds that something is perhaps not as intended, where the last step stands.
pub(super) fn warn(steps: &mut Vec<TraceStep>, text: &str) {
    add(steps, TraceNode::Warning { text: text.to_owned() });
}

fn add(steps: &mut Vec<TraceStep>, what: TraceNode) {
    let depth = steps.last().map_or(0, |last| match last.what {
        TraceNode::Bridge { .. } | TraceNode::Table { .. } | TraceNode::Bucket { .. } => {
            last.depth + 1
        }
        _ => last.depth,
    });
    steps.push(TraceStep { depth, what });
}

fn bucket_id(entry: &GroupEntry, at: usize) -> u32 {
    entry.group.buckets.get(at).map_or(0, |bucket| bucket.id)
}

fn decision_in_words(decision: &Decision) -> String {
    match decision {
        Decision::Meter(_) => "the pass ends here: the meter decides".to_owned(),
        Decision::Larger { len, .. } => {
            format!("the pass ends here: is the packet longer than {len} bytes?")
        }
        Decision::Select(_) => "a copy's pass ends here: its hash selects the bucket".to_owned(),
        Decision::Pause(_) => "the pass ends here: whoever watches decides".to_owned(),
        Decision::Connect(_) => "the pass ends here: the packet is tracked".to_owned(),
        Decision::Nothing => "the pass ends here".to_owned(),
    }
}

fn length(what: &TraceNode) -> usize {
    match what {
        TraceNode::Bridge { name } => name.len(),
        TraceNode::Table { flow, .. } => flow.as_ref().map_or(0, |flow| flow.matching.len()),
        TraceNode::Bucket { .. } | TraceNode::ActionSet => 0,
        TraceNode::Thaw { text }
        | TraceNode::Action { text }
        | TraceNode::Detail { text }
        | TraceNode::Warning { text }
        | TraceNode::Error { text } => text.len(),
    }
}

impl Record for Recorder<'_> {
    fn bridge(&mut self, name: &str) {
        self.step(0, TraceNode::Bridge { name: name.to_owned() });
    }

    fn clause(&mut self, clause: &Rule) {
        let matching = clause.matching().print(self.names).to_string();
        let comma = if matching.is_empty() { "" } else { "," };
        self.clauses.push(format!("conj. priority={}{comma}{matching}", clause.priority));
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
        let clauses = std::mem::take(&mut self.clauses);
        if rule.is_some_and(|rule| self.is_in_table(rule)) {
            clauses.into_iter().for_each(|clause| self.detail(clause));
        }
        if rule.is_some_and(|rule| rule.actions.is_empty()) {
            self.action_text("drop".to_owned());
        }
    }

    fn action(&mut self, action: &Action) {
        self.action_text(action.print(self.names).to_string());
        self.goes_on = matches!(action, Action::GotoTable(_));
        self.deepens = matches!(action, Action::Resubmit { .. });
        self.by_field = matches!(action, Action::OutputField(_) | Action::Bundle(_));
    }

    fn enter(&mut self) {
        self.outer.push(self.depth);
        self.depth += u32::from(std::mem::replace(&mut self.deepens, false));
    }

    fn leave(&mut self) {
        self.depth = self.outer.pop().unwrap_or(self.depth);
        self.goes_on = false;
    }

    fn group(&mut self, entry: &GroupEntry, bucket: Option<usize>) {
        let Some(at) = bucket else { return };
        self.choice(entry, at);
        let what = TraceNode::Bucket { group: entry.group.id, bucket: bucket_id(entry, at) };
        self.step(self.depth + 1, what);
        self.deepens = true;
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            // What has been said by then.
            Note::Drop(
                DropReason::TableMiss
                | DropReason::FlowDrop
                | DropReason::NoLiveBucket
                | DropReason::InvalidTtl,
            ) => {}
            Note::Sent(port) if self.by_field => {
                self.detail(format!("output port is {}", port.name));
            }
            Note::Sent(_) => {}
            Note::Missed(miss) => {
                self.action_text(miss.to_string());
                self.goes_on = miss == TableMiss::Continue;
            }
            Note::Shown(show) => {
                self.detail(format!("shown to whoever watches, {}", shown(show)));
            }
            Note::Vlan(0) => self.detail("in no VLAN".to_owned()),
            Note::Vlan(vid) => self.detail(format!("in VLAN {vid}")),
            Note::Learned(station) => self.detail(format!("would learn {} here", station.mac)),
            Note::Flooded => self.detail("destination not learned, flooding".to_owned()),
            Note::Known(port) => self.detail(format!("destination learned on port {}", port.name)),
            Note::Frozen(decision) => self.detail(decision_in_words(decision)),
            Note::Thawed(_) => {
                // What is left to be done lies in no table: it stands in the bridge.
                (self.depth, self.base) = (0, 0);
                let text = self.behind.unwrap_or_default().to_owned();
                self.step(1, TraceNode::Thaw { text });
            }
            Note::Rest(_) => self.depth = self.base,
            Note::Written(set) => {
                let text = format!("action set is: {}", self.set(set));
                self.detail(text);
            }
            Note::ActionSet => {
                self.depth = self.outer.last().copied().unwrap_or(self.base) + 1;
                self.step(self.depth, TraceNode::ActionSet);
            }
            Note::NoLiveBucket(entry) => {
                self.dead_buckets(entry, entry.group.buckets.len());
                self.detail("no live bucket".to_owned());
            }
            Note::Taught(rule) => self.detail(format!("would learn: {}", rule.flow_mod())),
            Note::Remembered(rule) => self.detail(format!("knows already: {}", rule.flow_mod())),
            Note::NotTaught => self.warning("there is no room to learn another flow"),
            Note::EmptyStack => self.warning("the stack is empty"),
            Note::TtlExpired => self.warning("no hop is left: this list of actions ends here"),
            Note::Drop(reason) => self.warning(reason.sentence()),
        }
    }
}
