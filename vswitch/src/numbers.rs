//! OpenFlow numbers of ports, remembered across restarts: a port keeps its number for its name,
//! since flows speak of numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use flowtable::Ports;

/// Numbers by bridge and port name, and the file they are kept in.
#[derive(Debug, Default)]
pub struct Numbers {
    file: Option<PathBuf>,
    known: BTreeMap<String, BTreeMap<String, u16>>,
}

impl Numbers {
    /// What `file` remembers; nothing if there is none, or no file is given.
    pub fn load(file: Option<&Path>) -> io::Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let known = match std::fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file: Some(file.to_owned()), known })
    }

    /// A number for a port: the one it had, or the lowest that no port has or had. `None` if there
    /// is none left.
    pub fn choose(&self, bridge: &str, name: &str, taken: &BTreeSet<u16>) -> Option<u16> {
        let none = BTreeMap::new();
        let known = self.known.get(bridge).unwrap_or(&none);
        let had = known.get(name).copied().filter(|number| !taken.contains(number));
        let others: BTreeSet<u16> = known.values().copied().collect();
        let free = |number: &u16| !taken.contains(number);
        let fresh = || (1..=Ports::MAX).find(|number| free(number) && !others.contains(number));
        had.or_else(fresh).or_else(|| (1..=Ports::MAX).find(free))
    }

    /// Remembers the number of a port.
    pub fn remember(&mut self, bridge: &str, name: &str, number: u16) -> io::Result<()> {
        let known = self.known.entry(bridge.to_owned()).or_default();
        if known.insert(name.to_owned(), number) == Some(number) {
            return Ok(());
        }
        self.save()
    }

    /// Written beside the file and moved over it, so that a crash leaves the old or the new one.
    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = file.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec_pretty(&self.known)?)?;
        std::fs::rename(&beside, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_keeps_its_number_and_nobody_else_gets_it() {
        let folder = std::env::temp_dir().join(format!("vswitch-numbers-{}", std::process::id()));
        let file = folder.join("ports.json");
        let mut numbers = Numbers::load(Some(&file)).unwrap();
        let mut taken = BTreeSet::new();
        for (name, expected) in [("a", 1), ("b", 2), ("c", 3)] {
            let number = numbers.choose("br0", name, &taken).unwrap();
            assert_eq!(number, expected);
            numbers.remember("br0", name, number).unwrap();
            taken.insert(number);
        }
        let numbers = Numbers::load(Some(&file)).unwrap();
        assert_eq!(numbers.choose("br0", "b", &BTreeSet::new()), Some(2), "across a restart");
        assert_eq!(
            numbers.choose("br0", "new", &BTreeSet::new()),
            Some(4),
            "the others may come back"
        );
        assert_eq!(numbers.choose("br1", "b", &BTreeSet::new()), Some(1), "another bridge");
        assert_eq!(
            numbers.choose("br0", "b", &BTreeSet::from([2])),
            Some(4),
            "somebody asked for 2"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let file = std::env::temp_dir().join(format!("vswitch-broken-{}", std::process::id()));
        std::fs::write(&file, "{").unwrap();
        assert!(Numbers::load(Some(&file)).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
        std::fs::remove_file(file).unwrap();
    }
}
