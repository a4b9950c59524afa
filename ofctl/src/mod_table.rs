//! `mod-table`: what a table does with packets that no flow matches, and when it is full.

use anyhow::Result;

use crate::cli::ModTableArgs;
use crate::desk::Desk;
use crate::transaction::Transaction;

pub(crate) fn run(args: &ModTableArgs, desk: &mut Desk) -> Result<()> {
    // What begins like a table is one, unless another one follows.
    let is_table = |word: &String| {
        word.eq_ignore_ascii_case("all") || word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (bridge, words) = match &*args.words {
        [bridge, words @ ..] if !is_table(bridge) || words.first().is_some_and(is_table) => {
            (Some(bridge.clone()), words)
        }
        words => (None, words),
    };
    Transaction::of(bridge, desk).change("table ", &words.join(" "), desk)
}
