//! How much there is of everything, and how much there may be: `memory`, `limits`.

use anyhow::Result;
use api::request::{LimitsShow, MemoryShow};

use crate::desk::Desk;
use crate::grid::Grid;

pub(crate) fn memory(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let memory = client.call(MemoryShow {})?;
    out.answer(&memory, |out, memory| {
        let mut grid = Grid::new(&["USE", "KIB", "HOLDS", "WHAT"]);
        let mut uses: Vec<_> = memory.uses.iter().collect();
        uses.sort_by_key(|one| std::cmp::Reverse(one.bytes));
        for one in &uses {
            grid.row([
                one.name.clone(),
                one.bytes.div_ceil(1024).to_string(),
                one.items.to_string(),
                one.item.clone(),
            ]);
        }
        grid.print(out, "")?;
        let held: u64 = uses.iter().map(|one| one.bytes).sum();
        out.line(format_args!("held for these: {} KiB", held.div_ceil(1024)))?;
        match memory.resident {
            Some(resident) => out.line(format_args!("resident: {} KiB", resident >> 10)),
            None => Ok(()),
        }
    })
}

pub(crate) fn limits(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let limits = client.call(LimitsShow {})?;
    out.answer(&limits, |out, limits| {
        let mut grid = Grid::new(&["WHAT", "EACH", "LIMIT", "NOW", "AT", "WHEN IT IS REACHED"]);
        for limit in &limits.limits {
            grid.row([
                limit.name.clone(),
                limit.each.clone(),
                limit.limit.to_string(),
                limit.now.map_or_else(|| "-".to_owned(), |now| now.to_string()),
                limit.at.clone().unwrap_or_else(|| "-".to_owned()),
                limit.then.clone(),
            ]);
        }
        grid.print(out, "")
    })
}
