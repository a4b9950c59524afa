//! The arguments that say in which order flows come.

use api::Field;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// What flows are compared by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    /// The priority.
    Priority,
    /// A field that is matched.
    Field(Field),
}

/// Reads the name of a field, or `priority`.
pub(crate) fn parse_key(text: &str) -> Result<Key, String> {
    match text {
        "priority" => Ok(Key::Priority),
        name => Field::from_name(name)
            .map(Key::Field)
            .ok_or_else(|| "it is neither `priority` nor the name of a field".to_owned()),
    }
}

/// What `--sort` and `--rsort` say, in the order in which they stand: what to compare, and whether
/// the highest comes first.
#[derive(Clone, Debug, Default)]
pub struct OrderArgs(pub Vec<(Key, bool)>);

/// The two options, and whether the highest comes first.
const OPTIONS: [(&str, &str, bool); 2] = [
    ("sort", "Sort by a field that is matched, or by priority if none is named", false),
    ("rsort", "Sort the other way round, from the highest on", true),
];

impl FromArgMatches for OrderArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut order = Self::default();
        order.update_from_arg_matches(matches)?;
        Ok(order)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut all: Vec<(usize, (Key, bool))> = Vec::new();
        for (name, _, falling) in OPTIONS {
            let keys = matches.get_many::<Key>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            all.extend(places.zip(keys).map(|(place, key)| (place, (*key, falling))));
        }
        all.sort_by_key(|(place, _)| *place);
        self.0 = all.into_iter().map(|(_, criterion)| criterion).collect();
        Ok(())
    }
}

impl Args for OrderArgs {
    fn augment_args(command: Command) -> Command {
        OPTIONS.into_iter().fold(command, |command, (name, help, _)| {
            command.arg(
                Arg::new(name)
                    .long(name)
                    .help(help)
                    .value_name("FIELD")
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("priority")
                    .action(ArgAction::Append)
                    .value_parser(parse_key),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
