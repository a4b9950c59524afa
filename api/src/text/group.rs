//! Groups, read and printed.

use std::fmt;

use super::actions::Reader;
use super::error::FlowError;
use super::part::{Cursor, Parameter, Part};
use super::ports::{self, PortNames};
use super::print::{Commas, List, Printed, Style};
use super::value::{self, Matched, Written};
use super::words;
use crate::action::Action;
use crate::field::Field;
use crate::flow::Match;
use crate::group::{Bucket, BucketPlace, Group, GroupKind, GroupMod, Selection};

/// What a line of a file of groups begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Add,
    Modify,
    AddOrModify,
    Delete,
    InsertBucket,
    RemoveBucket,
}

const VERBS: [(&str, Verb); 6] = [
    ("add", Verb::Add),
    ("modify", Verb::Modify),
    ("add_or_mod", Verb::AddOrModify),
    ("delete", Verb::Delete),
    ("insert_bucket", Verb::InsertBucket),
    ("remove_bucket", Verb::RemoveBucket),
];

/// The words of a group, besides those of its buckets.
const WORDS: [&str; 7] = [
    "group_id",
    "type",
    "selection_method",
    "selection_method_param",
    "fields",
    "command_bucket_id",
    "bucket",
];

/// Reads a change of groups.
pub(super) fn parse(text: Part<'_>, names: &dyn PortNames) -> Result<GroupMod, FlowError> {
    let (word, rest) = text.first_word();
    match VERBS.iter().find(|(verb, _)| *verb == word.text) {
        Some((_, verb)) => parse_as(*verb, rest, names),
        None => parse_as(Verb::Add, text, names),
    }
}

/// Reads a group.
pub(super) fn parse_group(text: Part<'_>, names: &dyn PortNames) -> Result<Group, FlowError> {
    let (head, buckets) = split_buckets(text);
    let head = Head::read(head, Verb::Add)?;
    head.group(text, &buckets, names)
}

fn parse_as(verb: Verb, text: Part<'_>, names: &dyn PortNames) -> Result<GroupMod, FlowError> {
    let (head, buckets) = split_buckets(text);
    let head = Head::read(head, verb)?;
    if let (Verb::Delete | Verb::RemoveBucket, Some(bucket)) = (verb, buckets.first()) {
        let rule = "has no meaning where no bucket is added";
        return Err(FlowError::Misplaced { at: bucket.at(), word: "bucket".to_owned(), rule });
    }
    let missing = |word| FlowError::Missing { at: text.end().at(), word };
    let id = head.id.ok_or_else(|| missing("group_id"));
    let place = head.place.ok_or_else(|| missing("command_bucket_id"));
    Ok(match verb {
        Verb::Add => GroupMod::Add(head.group(text, &buckets, names)?),
        Verb::Modify => GroupMod::Modify(head.group(text, &buckets, names)?),
        Verb::AddOrModify => GroupMod::AddOrModify(head.group(text, &buckets, names)?),
        Verb::Delete => GroupMod::Delete(head.id),
        Verb::InsertBucket if buckets.is_empty() => return Err(missing("bucket")),
        Verb::InsertBucket => {
            let buckets = read_buckets(&buckets, None, names)?;
            GroupMod::InsertBuckets { id: id?, place: place?, buckets }
        }
        Verb::RemoveBucket => GroupMod::RemoveBuckets { id: id?, place: place? },
    })
}

/// What stands before the first `bucket=`, and what stands behind each of them.
fn split_buckets(text: Part<'_>) -> (Part<'_>, Vec<Part<'_>>) {
    const BUCKET: &str = "bucket=";
    let mut starts = Vec::new();
    let mut quoted = false;
    let mut escaped = false;
    let mut open = 0usize;
    let mut before = b',';
    for (at, byte) in text.text.bytes().enumerate() {
        let begins = !quoted && open == 0 && matches!(before, b',' | b' ' | b'\t' | b'\r' | b'\n');
        if begins && text.text.get(at..).is_some_and(|rest| rest.starts_with(BUCKET)) {
            starts.push(at);
        }
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        match byte {
            b'(' if !quoted => open += 1,
            b')' if !quoted => open = open.saturating_sub(1),
            _ => {}
        }
        before = byte;
    }
    let ends = starts.iter().skip(1).copied().chain([text.text.len()]);
    let buckets = starts.iter().zip(ends).map(|(start, end)| text.slice(start + BUCKET.len()..end));
    (text.slice(0..starts.first().copied().unwrap_or(text.text.len())), buckets.collect())
}

/// What is said of a group before its buckets.
#[derive(Default)]
struct Head<'t> {
    id: Option<u32>,
    kind: Option<GroupKind>,
    place: Option<BucketPlace>,
    /// The word for how a bucket is selected, and what it is.
    method: Option<(Part<'t>, Method)>,
    /// The start of the hash, and where it is given.
    param: Option<(Part<'t>, u64)>,
    /// What is hashed, and where that is said.
    fields: Option<(Part<'t>, Vec<(Field, u128)>)>,
}

#[derive(Clone, Copy)]
enum Method {
    DpHash,
    Hash,
}

impl<'t> Head<'t> {
    fn read(text: Part<'t>, verb: Verb) -> Result<Self, FlowError> {
        let mut head = Self::default();
        let mut cursor = Cursor::new(text);
        while let Some(parameter) = cursor.parameter()? {
            let word = parameter.word.part;
            if !WORDS.contains(&word.text) {
                return Err(words::unknown(word, "word", WORDS.into_iter()));
            }
            if let Some(rule) = refuses(verb, word.text) {
                let word = word.text.to_owned();
                return Err(FlowError::Misplaced { at: parameter.word.at(), word, rule });
            }
            head.take(parameter, verb)?;
        }
        cursor.end()?;
        Ok(head)
    }

    fn take(&mut self, parameter: Parameter<'t>, verb: Verb) -> Result<(), FlowError> {
        let word = parameter.word.part;
        if let ("fields", Some(list)) = (word.text, parameter.value) {
            self.fields = Some((word, fields(list)?));
            return Ok(());
        }
        let given = parameter.given()?;
        let wrong = |expected| FlowError::Value {
            at: given.at(),
            of: word.text.to_owned(),
            expected,
            found: given.found(),
        };
        match word.text {
            "group_id" if verb == Verb::Delete && given.text == "all" => self.id = None,
            "group_id" => self.id = Some(value::group(given, word.text)?),
            "type" => {
                let known = GroupKind::ALL.iter().find(|(_, name)| *name == given.text);
                let kind = known.map(|(kind, _)| *kind);
                let other = (given.text == "fast_failover").then_some(GroupKind::FastFailover);
                let expected = "all, select, indirect, ff or fast_failover";
                self.kind = Some(kind.or(other).ok_or_else(|| wrong(expected))?);
            }
            "selection_method" => {
                let method = match given.text {
                    "dp_hash" => Method::DpHash,
                    "hash" => Method::Hash,
                    _ => return Err(wrong("dp_hash or hash")),
                };
                self.method = Some((word, method));
            }
            "selection_method_param" => self.param = Some((word, value::fit(given, word.text)?)),
            "command_bucket_id" => {
                let place = match given.text {
                    "first" => BucketPlace::First,
                    "last" => BucketPlace::Last,
                    "all" if verb == Verb::RemoveBucket => BucketPlace::All,
                    "all" => return Err(wrong("first, last or a bucket's number")),
                    _ => BucketPlace::Id(value::group(given, word.text)?),
                };
                self.place = Some(place);
            }
            // Such as `bucket:1`, which OVS does not take for a bucket either.
            _ => return Err(wrong("to be joined by `=`")),
        }
        Ok(())
    }

    fn group(
        mut self,
        text: Part<'_>,
        buckets: &[Part<'_>],
        names: &dyn PortNames,
    ) -> Result<Group, FlowError> {
        let missing = |word| FlowError::Missing { at: text.end().at(), word };
        let id = self.id.ok_or_else(|| missing("group_id"))?;
        let kind = self.kind.ok_or_else(|| missing("type"))?;
        let selection = self.selection(kind)?;
        match (kind, buckets) {
            (GroupKind::Indirect, []) => return Err(missing("bucket")),
            (GroupKind::Indirect, [_, more, ..]) => {
                let (word, rule) = ("bucket".to_owned(), "can be in an indirect group only once");
                return Err(FlowError::Misplaced { at: more.at(), word, rule });
            }
            _ => {}
        }
        let buckets = read_buckets(buckets, Some(kind), names)?;
        Ok(Group { id, kind, selection, buckets })
    }

    fn selection(&mut self, kind: GroupKind) -> Result<Selection, FlowError> {
        let misplaced = |word: Part<'_>, rule| {
            Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule })
        };
        if let (Some((word, _)), true) = (self.method, kind != GroupKind::Select) {
            return misplaced(word, "is for select groups");
        }
        let param = self.param.map_or(0, |(_, param)| param);
        match (self.method, self.fields.take()) {
            (None, None) => match self.param {
                Some((word, _)) => misplaced(word, "goes with `selection_method`"),
                None => Ok(Selection::Default),
            },
            (Some((_, Method::Hash)), fields) => {
                let fields = fields.map(|(_, fields)| fields).unwrap_or_default();
                Ok(Selection::Hash { param, fields })
            }
            (_, Some((word, _))) => misplaced(word, "goes with `selection_method=hash`"),
            (Some((_, Method::DpHash)), None) => Ok(Selection::DpHash { param }),
        }
    }
}

/// Why a word has no place behind a verb.
fn refuses(verb: Verb, word: &str) -> Option<&'static str> {
    match (verb, word) {
        (_, "group_id") => None,
        (Verb::InsertBucket | Verb::RemoveBucket, "command_bucket_id") => None,
        (_, "command_bucket_id") => Some("goes with `insert_bucket` and `remove_bucket`"),
        (Verb::Add | Verb::Modify | Verb::AddOrModify, _) => None,
        _ => Some("is said when a group is added or modified"),
    }
}

/// Reads `FIELD[=MASK],...`, in the order of the fields.
fn fields(text: Part<'_>) -> Result<Vec<(Field, u128)>, FlowError> {
    let mut fields = Vec::new();
    let mut cursor = Cursor::new(text);
    while let Some(Parameter { word, value }) = cursor.parameter()? {
        let field = words::field(word.text()).map(|word| word.meant(&Match::ANY));
        let field = field.ok_or_else(|| words::unknown_field(word.part))?;
        let mask = match value {
            None => field.ones(),
            Some(mask) => {
                let (bits, whole) = value::parse(mask, field, &ports::NoNames)?;
                if bits == 0 || whole != field.ones() {
                    let (at, expected) = (mask.at(), "a mask with at least one bit");
                    let of = field.name().to_owned();
                    return Err(FlowError::Value { at, of, expected, found: mask.found() });
                }
                if bits != field.ones() && !field.is_maskable() {
                    return Err(FlowError::NotMaskable { at: mask.at(), field: field.name() });
                }
                bits
            }
        };
        fields.retain(|(other, _)| *other != field);
        fields.push((field, mask));
    }
    cursor.end()?;
    fields.sort_unstable();
    Ok(fields)
}

/// Reads buckets for a group of some kind; of an unknown one for those that are put into it.
fn read_buckets(
    texts: &[Part<'_>],
    kind: Option<GroupKind>,
    names: &dyn PortNames,
) -> Result<Vec<Bucket>, FlowError> {
    let mut reader = Reader::new(names);
    let mut taken = Vec::with_capacity(texts.len());
    let mut buckets = Vec::with_capacity(texts.len());
    for text in texts {
        reader.count(1, *text)?;
        let (id, bucket) = read_bucket(*text, kind, &mut reader, names)?;
        taken.extend(id.map(|id| (id, *text)));
        buckets.push((id, bucket));
    }
    taken.sort_unstable_by_key(|(id, text)| (*id, text.at().start));
    if let Some([_, (_, text)]) = taken.array_windows().find(|[a, b]| a.0 == b.0) {
        let (word, rule) = ("bucket_id".to_owned(), "is that of an earlier bucket");
        return Err(FlowError::Misplaced { at: text.at(), word, rule });
    }
    // The others get the lowest numbers that are left.
    let taken: Vec<_> = taken.into_iter().map(|(id, _)| id).collect();
    let mut free = (0..).filter(|id| taken.binary_search(id).is_err());
    let numbered = buckets.into_iter().map(|(id, bucket)| {
        let id = id.or_else(|| free.next()).unwrap_or_default();
        Bucket { id, ..bucket }
    });
    Ok(numbered.collect())
}

/// Reads `[bucket_id=N][,weight=N][,watch_port=P][,watch_group=G][,actions=]ACTIONS`: its number, if
/// it is given one, and the rest.
fn read_bucket(
    text: Part<'_>,
    kind: Option<GroupKind>,
    reader: &mut Reader<'_>,
    names: &dyn PortNames,
) -> Result<(Option<u32>, Bucket), FlowError> {
    let select = kind.is_none_or(|kind| kind == GroupKind::Select);
    let (mut id, mut weight) = (None, u16::from(select));
    let (mut watch_port, mut watch_group) = (None, None);
    let misplaced = |word: &str, at, rule| FlowError::Misplaced { at, word: word.to_owned(), rule };
    let actions = reader.bucket(text, |word, cursor| {
        let name = word.text();
        if !matches!(name, "bucket_id" | "weight" | "watch_port" | "watch_group") {
            return Ok(false);
        }
        let given = Parameter { word, value: cursor.value(word)? }.given()?;
        let watches = !matches!(kind, Some(GroupKind::All | GroupKind::Indirect));
        match name {
            "bucket_id" => id = Some(value::group(given, name)?),
            "weight" => {
                weight = value::fit(given, name)?;
                if !select && weight != 0 {
                    let rule = "is for the buckets of select groups";
                    return Err(misplaced(name, word.at(), rule));
                }
            }
            _ if !watches => {
                let rule = "is for buckets of select and ff groups";
                return Err(misplaced(name, word.at(), rule));
            }
            "watch_port" => {
                let port = ports::parse(given, name, names)?;
                let known = matches!(port, 0..=0xfeff | ports::CONTROLLER | ports::ANY);
                let (at, expected) = (given.at(), "a port below 65280, or CONTROLLER");
                let wrong =
                    FlowError::Value { at, of: name.to_owned(), expected, found: given.found() };
                watch_port = known.then_some(port).ok_or(wrong)?.into();
                watch_port = watch_port.filter(|port| *port != ports::ANY);
            }
            _ => watch_group = Some(value::group(given, name)?),
        }
        Ok(true)
    })?;
    let actions = actions.ok_or_else(|| FlowError::NoActions { at: text.end().at() })?;
    if kind == Some(GroupKind::FastFailover) && watch_port.is_none() && watch_group.is_none() {
        let rule = "of an ff group needs `watch_port` or `watch_group`";
        return Err(misplaced("bucket", text.at(), rule));
    }
    Ok((id, Bucket { id: 0, weight, watch_port, watch_group, actions }))
}

impl fmt::Display for Printed<'_, GroupMod> {
    /// `[VERB ]group_id=5,type=select,bucket=bucket_id:0,actions=output:2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.style;
        match self.what {
            GroupMod::Add(group) => Printed { what: group, style }.fmt(f),
            GroupMod::Modify(group) => write!(f, "modify {}", Printed { what: group, style }),
            GroupMod::AddOrModify(group) => {
                write!(f, "add_or_mod {}", Printed { what: group, style })
            }
            GroupMod::Delete(None) => f.write_str("delete group_id=all"),
            GroupMod::Delete(Some(id)) => write!(f, "delete group_id={id}"),
            GroupMod::InsertBuckets { id, place, buckets } => {
                write!(f, "insert_bucket group_id={id},command_bucket_id={place}")?;
                fmt_buckets(f, buckets, true, style)
            }
            GroupMod::RemoveBuckets { id, place } => {
                write!(f, "remove_bucket group_id={id},command_bucket_id={place}")
            }
        }
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::All => f.write_str("all"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl fmt::Display for Printed<'_, Group> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Group { id, kind, selection, buckets } = self.what;
        let name =
            GroupKind::ALL.iter().find(|(known, _)| known == kind).map_or("", |known| known.1);
        write!(f, "group_id={id},type={name}")?;
        let (method, param) = match selection {
            Selection::Default => ("", 0),
            Selection::DpHash { param } => (",selection_method=dp_hash", *param),
            Selection::Hash { param, .. } => (",selection_method=hash", *param),
        };
        f.write_str(method)?;
        if param != 0 {
            write!(f, ",selection_method_param={param}")?;
        }
        if let Selection::Hash { fields, .. } = selection {
            fmt_hashed(f, fields)?;
        }
        fmt_buckets(f, buckets, *kind == GroupKind::Select, self.style)
    }
}

/// `,fields=ip_dst` or `,fields(ip_src=255.255.255.0,ip_dst)`.
fn fmt_hashed(f: &mut fmt::Formatter<'_>, fields: &[(Field, u128)]) -> fmt::Result {
    let (open, close) = match fields {
        [] => return Ok(()),
        [_] => ("=", ""),
        _ => ("(", ")"),
    };
    write!(f, ",fields{open}")?;
    let mut list = Commas::new(f);
    for &(field, value) in fields {
        let (mask, ports) = (field.ones(), &ports::NoNames);
        match value == mask {
            true => list.item(format_args!("{field}"))?,
            false => {
                let written = Written(Matched { field, value, mask, ports });
                list.item(format_args!("{field}={written}"))?;
            }
        }
    }
    f.write_str(close)
}

/// Buckets, with their weights where those can be told from the usual one.
fn fmt_buckets(
    f: &mut fmt::Formatter<'_>,
    buckets: &[Bucket],
    weighted: bool,
    style: Style<'_>,
) -> fmt::Result {
    let style = Style { in_bucket: true, ..style };
    for Bucket { id, weight, watch_port, watch_group, actions } in buckets {
        write!(f, ",bucket=bucket_id:{id}")?;
        if weighted && *weight != 1 {
            write!(f, ",weight:{weight}")?;
        }
        if let Some(port) = watch_port {
            write!(f, ",watch_port:{}", style.port(*port))?;
        }
        if let Some(group) = watch_group {
            write!(f, ",watch_group:{group}")?;
        }
        let actions: &[Action] = actions;
        write!(f, ",actions={}", List { actions, style })?;
    }
    Ok(())
}
