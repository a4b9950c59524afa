//! The methods: one row each, from which come the enums of requests and replies and what ties them
//! to each other.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use crate::codec::{Malformed, from_json};
use crate::{reply, request};

/// A request that knows the type of its answer: for whoever asks. Whoever answers has [`Request`].
pub trait Call: Into<Request> {
    /// The method's name on the socket.
    const METHOD: &'static str;

    /// What is answered unless the request is refused.
    type Reply: DeserializeOwned;
}

macro_rules! methods {
    ($($method:literal $variant:ident $reply:ident,)*) => {
        /// Everything one may ask, free of the form in which it came.
        #[derive(Clone, Debug, Eq, PartialEq)]
        #[expect(missing_docs, reason = "the types of the variants are documented")]
        pub enum Request {
            $($variant(request::$variant),)*
        }

        /// What is answered, by the request it answers.
        #[derive(Clone, Debug, Eq, PartialEq)]
        #[expect(missing_docs, reason = "the types of the variants are documented")]
        pub enum Reply {
            $($variant(reply::$reply),)*
        }

        impl Request {
            /// Every method there is.
            pub const METHODS: &[&'static str] = &[$($method,)*];

            /// The method's name on the socket.
            pub const fn method(&self) -> &'static str {
                match self { $(Self::$variant(_) => $method,)* }
            }

            /// Reads the parameters of `method`; `None` if there is no such method.
            pub(crate) fn from_params(
                method: &str,
                params: &str,
            ) -> Option<Result<Self, Malformed>> {
                Some(match method {
                    $($method => from_json(params).map(Self::$variant),)*
                    _ => return None,
                })
            }

            /// Writes the parameters alone.
            pub(crate) fn serialize_params<S: Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(params) => params.serialize(serializer),)* }
            }
        }

        impl Serialize for Reply {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(reply) => reply.serialize(serializer),)* }
            }
        }

        $(
            impl Call for request::$variant {
                const METHOD: &'static str = $method;
                type Reply = reply::$reply;
            }

            impl From<request::$variant> for Request {
                fn from(request: request::$variant) -> Self {
                    Self::$variant(request)
                }
            }
        )*
    };
}

methods! {
    "version" Version Version,
    "bridge.add" BridgeAdd Done,
    "bridge.del" BridgeDel Done,
    "port.add" PortAdd PortAdded,
    "port.mod" PortMod Done,
    "port.del" PortDel Done,
    "show" Show Bridges,
    "flow.mod" FlowChange Changed,
    "flow.begin" FlowBegin Done,
    "flow.append" FlowAppend Collected,
    "flow.commit" FlowCommit Changed,
    "flow.dump" FlowDump Flows,
    "flow.aggregate" FlowAggregate Aggregate,
    "table.dump" TableDump Tables,
    "table.mod" TableChange Changed,
    "group.dump" GroupDump Groups,
    "group.features" GroupFeatures GroupsFeatures,
    "meter.dump" MeterDump Meters,
    "meter.features" MeterFeatures MetersFeatures,
    "port.stats" PortStats Ports,
    "queue.set" QueueSet Done,
    "queue.del" QueueDel Done,
    "queue.dump" QueueDump EgressQueues,
    "trace" Trace Trace,
    "cache.dump" CacheDump CacheEntries,
    "cache.detrace" CacheDetrace Detrace,
    "cache.flush" CacheFlush CacheFlushed,
    "drops.explain" DropsExplain LastDrops,
    "worker.stats" WorkerStats Workers,
    "worker.histograms" WorkerHistograms Histograms,
    "rxq.show" RxqShow RxQueues,
    "fdb.show" FdbShow Fdb,
    "fdb.flush" FdbFlush Flushed,
    "fdb.add" FdbAdd Done,
    "fdb.del" FdbDel Flushed,
    "fdb.stats" FdbStats FdbTables,
    "ct.dump" CtDump Connections,
    "ct.expect.dump" CtExpectDump Expectations,
    "ct.flush" CtFlush CtFlushed,
    "ct.stats" CtStats CtCounts,
    "ct.limit.set" CtLimitSet Done,
    "ct.limit.del" CtLimitDel Done,
    "ct.limit.dump" CtLimitDump CtLimits,
    "ct.timeout.set" CtTimeoutSet Done,
    "ct.timeout.del" CtTimeoutDel Done,
    "ct.timeout.dump" CtTimeoutDump CtPolicies,
    "ct.tcp.set" CtTcpSet Done,
    "ct.tcp.show" CtTcpShow CtTcp,
    "memory" MemoryShow Memory,
    "limits" LimitsShow Limits,
    "packet.resume" PacketResume Done,
    "capture.start" CaptureStart Done,
    "events.watch" EventsWatch Done,
    "dummy.receive" DummyReceive Done,
    "dummy.take" DummyTake Taken,
}

/// What the switch says unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "method", content = "params")]
#[expect(clippy::large_enum_variant, reason = "none is kept: they are written as they are made")]
pub enum Notification {
    /// A packet of the capture that this connection began.
    #[serde(rename = "capture.packet")]
    Captured(reply::Captured),
    /// Something that this connection wants to be told of.
    #[serde(rename = "event")]
    Event(reply::Event),
}
