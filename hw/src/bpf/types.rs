//! The kernel's own description of its types and functions (`Documentation/bpf/btf.rst`), as far as
//! it takes to find a function's number.

/// The number of the kernel's function `name`; `None` if it has none, or says nothing about itself.
///
/// Cost: reads a file of some megabytes.
pub(crate) fn kernel_function(name: &str) -> Option<u32> {
    let description = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    function(&description, name)
}

fn function(description: &[u8], name: &str) -> Option<u32> {
    const MAGIC: u16 = 0xeb9f;
    const FUNCTION: u32 = 12;
    let word = |at: usize| {
        let bytes = description.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let size = |at: usize| usize::try_from(word(at)?).ok();
    if u16::from_ne_bytes(*description.first_chunk()?) != MAGIC {
        return None;
    }
    let (header, types, types_len, strings) = (size(4)?, size(8)?, size(12)?, size(16)?);
    let mut at = header.checked_add(types)?;
    let end = at.checked_add(types_len)?;
    // Numbers begin at 1; 0 is `void`.
    let mut number = 1;
    while at < end {
        let (name_at, info) = (size(at)?, word(at + 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == FUNCTION {
            let found = description.get(header + strings + name_at..)?;
            if found.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)) {
                return Some(number);
            }
        }
        at += 12 + extra(kind, count)?;
        number += 1;
    }
    None
}

/// Bytes that follow the three words of a type, by its kind; `None` for a kind newer than us.
const fn extra(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Struct, union, data section, 64-bit enumeration.
        4 | 5 | 15 | 19 => 12 * count,
        // Enumeration, function prototype.
        6 | 13 => 8 * count,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Vec<u8> {
        let types: &[&[u32]] = &[
            &[0, 1 << 24, 4, 0x20],                  // 1: an integer
            &[0, 4 << 24 | 2, 8, 0, 1, 0, 0, 1, 32], // 2: a struct of two members
            &[1, 12 << 24, 5],                       // 3: the function "one"
            &[5, 12 << 24, 5],                       // 4: the function "two"
            &[0, 13 << 24, 0],                       // 5: its prototype
        ];
        let types: Vec<u8> = types.concat().iter().flat_map(|word| word.to_ne_bytes()).collect();
        let strings = b"\0one\0two\0";
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let len = u32::try_from(types.len()).unwrap();
        for word in [24, 0, len, len, 9] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        let description = description();
        assert_eq!(function(&description, "one"), Some(3));
        assert_eq!(function(&description, "two"), Some(4));
        assert_eq!(function(&description, "on"), None);
        assert_eq!(function(&description, "three"), None);
    }

    #[test]
    fn a_description_cut_anywhere_is_no_panic() {
        let description = description();
        for len in 0..description.len() - 1 {
            assert_eq!(function(&description[..len], "three"), None, "{len} bytes");
        }
    }
}
