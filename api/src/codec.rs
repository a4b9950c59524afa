//! Requests, replies and notifications as JSON-RPC 2.0: one object a line, UTF-8, no newline
//! inside.
//!
//! ```text
//! -> {"jsonrpc":"2.0","id":1,"method":"flow.mod","params":{"flows":["ip,actions=output:2"]}}
//! <- {"jsonrpc":"2.0","id":1,"result":{"generation":42,"late":[]}}
//! -> {"jsonrpc":"2.0","id":2,"method":"flow.mod","params":{"flows":["pi,actions=output:2"]}}
//! <- {"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"flow 0, byte 0: unknown word
//!    `pi`","data":{"flow":0,"at":[0,2]}}}
//! ```
//!
//! Members that nobody knows are ignored. A request without an `id` is carried out and not
//! answered.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::method::{Notification, Reply, Request};
use crate::text::FlowError;

/// The longest line, in bytes without its newline.
pub const MAX_LINE: usize = 16 << 20;
/// The longest line that the switch reads. A longer change of flows goes by `flow.begin`,
/// `flow.append` and `flow.commit`.
pub const MAX_REQUEST: usize = 4 << 20;

/// What a client chose to tell the answer to one request from that to another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// `null`: also what is answered where the request's own could not be read.
    Null,
}

/// Why a request was refused. Nothing has changed when one is answered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which kind of reason: one of the constants below.
    pub code: i32,
    /// The reason in words.
    pub message: String,
    /// What in the request it is about, if it is about a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Place>,
}

/// The part of a request that was refused.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// The member of the parameters, such as `options.queues` or `flows[2]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Which flow, from 0 on; of a collected change, counted from its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// The bytes of the text, from the first up to but without the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<[usize; 2]>,
}

impl Failure {
    /// The line is no JSON.
    pub const NOT_JSON: i32 = -32700;
    /// The line is JSON but no request.
    pub const NOT_A_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const UNKNOWN_METHOD: i32 = -32601;
    /// The parameters are not those of the method.
    pub const BAD_PARAMS: i32 = -32602;
    /// The switch has failed.
    pub const INTERNAL: i32 = -32603;
    /// The request is well-formed, and the switch cannot do what it says: no such bridge, table
    /// full.
    pub const REFUSED: i32 = -32000;

    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The switch cannot do what the request says.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Self::REFUSED, message)
    }

    /// The switch has failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Self::INTERNAL, message)
    }

    /// The text of flow `flow`, counted from 0, cannot be read.
    pub fn flow(flow: u64, error: &FlowError) -> Self {
        let place = Place { flow: Some(flow), ..Place::default() };
        Self::text(place, &format!("flow {flow}"), error)
    }

    /// The text in `member`, a filter or a packet's description, cannot be read.
    pub fn member(member: &str, error: &FlowError) -> Self {
        let place = Place { member: Some(member.to_owned()), ..Place::default() };
        Self::text(place, member, error)
    }

    /// The change of flow `flow`, counted from 0, is well-formed and cannot be made.
    pub fn refused_flow(flow: u64, why: impl fmt::Display) -> Self {
        let data = Some(Place { flow: Some(flow), ..Place::default() });
        Self { code: Self::REFUSED, message: format!("flow {flow}: {why}"), data }
    }

    fn text(place: Place, what: &str, error: &FlowError) -> Self {
        let at = error.at();
        let message = format!("{what}, byte {}: {error}", at.start);
        let data = Some(Place { at: Some([at.start, at.end]), ..place });
        Self { code: Self::BAD_PARAMS, message, data }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        let message = malformed.to_string();
        let member = Some(malformed.member).filter(|member| !member.is_empty());
        let data = member.map(|member| Place { member: Some(member), ..Place::default() });
        Self { code: Self::BAD_PARAMS, message, data }
    }
}

/// A request and whom to answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// What to answer with; nobody waits for an answer if there is none.
    pub id: Option<Id>,
    /// The request.
    pub request: Request,
}

/// A line that is no request, and what to answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{failure}")]
pub struct Rejected {
    /// What to answer with; nobody waits for an answer if there is none.
    pub id: Option<Id>,
    /// The answer.
    pub failure: Failure,
}

/// A line from the switch.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "none is kept: they are read one by one")]
pub enum Answer {
    /// The answer to the request of that number.
    Reply {
        /// What the request said.
        id: Id,
        /// The result, still to be read as the type that goes with the request.
        result: Result<Box<RawValue>, Failure>,
    },
    /// What the switch says unasked.
    Notification(Notification),
}

/// A message that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It would not fit a line.
    #[error("a message of {len} bytes does not fit a line of {most}")]
    TooLong {
        /// Its length.
        len: usize,
        /// What it may have.
        most: usize,
    },
    /// It has no form in JSON, such as a path that is no UTF-8.
    #[error("the message cannot be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Writes a request as a line, newline included.
pub fn encode_request(id: u64, request: &Request) -> Result<String, EncodeError> {
    #[derive(Serialize)]
    struct Line<'a> {
        jsonrpc: &'a str,
        id: u64,
        method: &'a str,
        params: Params<'a>,
    }
    struct Params<'a>(&'a Request);
    impl Serialize for Params<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize_params(serializer)
        }
    }
    let message = Line { jsonrpc: "2.0", id, method: request.method(), params: Params(request) };
    line(&message, MAX_REQUEST)
}

/// Writes an answer as a line, newline included.
pub fn encode_reply(id: &Id, answer: &Result<Reply, Failure>) -> Result<String, EncodeError> {
    #[derive(Serialize)]
    struct Line<'a> {
        jsonrpc: &'a str,
        id: &'a Id,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a Reply>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Failure>,
    }
    let (result, error) = (answer.as_ref().ok(), answer.as_ref().err());
    line(&Line { jsonrpc: "2.0", id, result, error }, MAX_LINE)
}

/// Writes a notification as a line, newline included.
pub fn encode_notification(notification: &Notification) -> Result<String, EncodeError> {
    #[derive(Serialize)]
    struct Line<'a> {
        jsonrpc: &'a str,
        #[serde(flatten)]
        notification: &'a Notification,
    }
    line(&Line { jsonrpc: "2.0", notification }, MAX_LINE)
}

fn line(message: &impl Serialize, most: usize) -> Result<String, EncodeError> {
    let mut line = serde_json::to_string(message)?;
    if line.len() > most {
        return Err(EncodeError::TooLong { len: line.len(), most });
    }
    line.push('\n');
    Ok(line)
}

/// Every member that a line may have, each still unread.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there, even if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads a line as a request.
pub fn decode_request(line: &str) -> Result<Asked, Rejected> {
    // Whose request it was cannot be told.
    let unreadable = |failure| Rejected { id: Some(Id::Null), failure };
    let line = Line::read(line).map_err(unreadable)?;
    let id = line.id().map_err(unreadable)?;
    match line.request() {
        Ok(request) => Ok(Asked { id, request }),
        // What is no request is no notification either: it is answered.
        Err(failure) if failure.code == Failure::NOT_A_REQUEST => {
            Err(Rejected { id: id.or(Some(Id::Null)), failure })
        }
        Err(failure) => Err(Rejected { id, failure }),
    }
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Result<Self, Failure> {
        let read = serde_json::from_str(line);
        if read.is_ok() && !line.trim_start().starts_with('{') {
            // Such as a list of requests, which JSON-RPC calls a batch.
            return Err(Failure::new(Failure::NOT_A_REQUEST, "a request is one object"));
        }
        read.map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                let message = format!("no JSON-RPC request: {}", why(&error));
                Failure::new(Failure::NOT_A_REQUEST, message)
            }
            _ => Failure::new(Failure::NOT_JSON, format!("no JSON: {error}")),
        })
    }

    fn id(&self) -> Result<Option<Id>, Failure> {
        let Some(id) = self.id else { return Ok(None) };
        let wrong = "`id` is neither a number nor a string nor null";
        let id = serde_json::from_str(id.get()).ok();
        id.map(Some).ok_or_else(|| Failure::new(Failure::NOT_A_REQUEST, wrong))
    }

    fn request(&self) -> Result<Request, Failure> {
        if self.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            let message = "`\"jsonrpc\":\"2.0\"` is missing";
            return Err(Failure::new(Failure::NOT_A_REQUEST, message));
        }
        let method = self.method.and_then(|text| serde_json::from_str::<String>(text.get()).ok());
        let missing = || Failure::new(Failure::NOT_A_REQUEST, "`method` is missing or no string");
        let method = method.ok_or_else(missing)?;
        let params = self.params.map_or("{}", RawValue::get);
        if !params.starts_with('{') {
            return Err(Failure::new(Failure::BAD_PARAMS, "`params` is no object"));
        }
        match Request::from_params(&method, params) {
            Some(request) => request.map_err(Failure::from),
            None => {
                let method: String = method.chars().take(40).collect();
                Err(Failure::new(Failure::UNKNOWN_METHOD, format!("no method `{method}`")))
            }
        }
    }
}

/// Reads a line from the switch.
pub fn decode_answer(line: &str) -> Result<Answer, Malformed> {
    let members: Line<'_> =
        serde_json::from_str(line).map_err(|error| Malformed::new(&error, line))?;
    if members.method.is_some() {
        return from_json(line).map(Answer::Notification);
    }
    let id = members.id.map_or(Ok(Id::Null), |id| from_json(id.get()))?;
    match (members.result, members.error) {
        (_, Some(error)) => Ok(Answer::Reply { id, result: Err(from_json(error.get())?) }),
        (Some(result), None) => Ok(Answer::Reply { id, result: Ok(result.to_owned()) }),
        (None, None) => {
            Err(Malformed { member: String::new(), why: "neither `result` nor `error`".to_owned() })
        }
    }
}

/// JSON that is not what it should be, and which member of it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}{why}", prefix(.member))]
pub struct Malformed {
    /// The member, such as `options.queues` or `flows[2]`; empty for the whole.
    pub member: String,
    /// What is wrong with it.
    pub why: String,
}

fn prefix(member: &str) -> String {
    if member.is_empty() { String::new() } else { format!("`{member}`: ") }
}

impl Malformed {
    fn new(error: &serde_json::Error, json: &str) -> Self {
        // Columns count bytes, and a line of ours has no newline. Column 0 is an error without a
        // place.
        let member = match error.line() {
            1 => member_at(json, error.column()),
            _ => String::new(),
        };
        Self { member, why: why(error) }
    }

    /// The same as seen from outside of `member`.
    pub(crate) fn within(self, member: &str) -> Self {
        let inside =
            if self.member.is_empty() { String::new() } else { format!(".{}", self.member) };
        Self { member: format!("{member}{inside}"), ..self }
    }
}

/// An error of `serde_json` without the line and column it appends: they are those of a part of the
/// line and would mislead.
fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// Reads a value, or says which member of it is wrong.
pub(crate) fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, Malformed> {
    serde_json::from_str(json).map_err(|error| Malformed::new(&error, json))
}

/// The member of `json` that ends `len` bytes on, or is not over there. The JSON up to there is
/// well-formed.
fn member_at(json: &str, len: usize) -> String {
    enum Level<'a> {
        Object(Option<&'a str>),
        Array(usize),
    }
    let mut levels = Vec::new();
    let len = len.min(json.len());
    let mut at = 0;
    while at < len {
        match json.as_bytes()[at] {
            b'{' => levels.push(Level::Object(None)),
            // What is wrong with the last one is that it is a list.
            b'[' if at + 1 == len => {}
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level::Object(key)) => *key = None,
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let start = at + 1;
                at = end_of_string(json, start);
                if let Some(Level::Object(key @ None)) = levels.last_mut() {
                    *key = json.get(start..at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for level in &levels {
        match level {
            Level::Object(Some(key)) if path.is_empty() => path.push_str(key),
            Level::Object(Some(key)) => path.extend([".", key]),
            Level::Object(None) => {}
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Where the quote stands that closes the string whose first byte is at `start`.
fn end_of_string(json: &str, start: usize) -> usize {
    let mut escaped = false;
    let behind = json.as_bytes().get(start..).unwrap_or_default();
    let closing = behind.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(json.len(), |closing| start + closing)
}

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod tests;
