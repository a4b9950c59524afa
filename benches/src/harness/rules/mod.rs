//! Rules and packets like those of access lists, firewalls and IP chains, from a seed.
//!
//! The idea is ClassBench's (Taylor and Turner, INFOCOM 2005): what makes a list of rules hard is
//! how long its prefixes are, in pairs; how its addresses branch; of which classes its ports are;
//! and which protocols it names. The generator is ours and so are its numbers: they are drawn after
//! what the paper says of its three kinds of lists, not copied from its seed files.
//!
//! | file | what |
//! |---|---|
//! | [`profile`] | the numbers of a kind: `acl1`, `fw1`, `ipc1` |
//! | [`tree`] | addresses that branch |
//! | [`ports`] | classes of ports, and ranges as masks |
//! | [`rule`] | a rule, as text and as a question |
//! | [`list`] | a list of them, in order |
//! | [`index`] | which rule is the first that a packet meets |
//! | [`headers`] | packets that meet certain rules, and packets that meet none |

pub mod headers;
pub mod index;
pub mod list;
pub mod ports;
pub mod profile;
pub mod rule;
pub mod tree;
