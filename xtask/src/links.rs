//! The links of the pages: each leads to a file, and each page of the book is in its table of contents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::Error;

/// Files that must be there.
const REQUIRED: &[&str] = &["README.md", "docs/book.toml", SUMMARY];
/// The book's table of contents.
const SUMMARY: &str = "docs/src/SUMMARY.md";

/// What is wrong with `pages`, paths within the directory `root`.
pub(crate) fn check(root: &Path, pages: &[&str]) -> Result<Vec<String>, Error> {
    let missing = REQUIRED.iter().filter(|file| !root.join(file).exists());
    let mut complaints: Vec<_> = missing.map(|file| format!("{file} is missing")).collect();
    let mut contents = BTreeSet::new();
    for page in pages {
        let text = fs::read_to_string(root.join(page)).map_err(Error::file(*page))?;
        for (line, link) in links(&text) {
            match resolve(page, link) {
                None => complaints.push(format!("{page}:{line}: `{link}` leads out of the tree")),
                Some(path) if !root.join(&path).exists() => {
                    complaints.push(format!("{page}:{line}: `{link}` leads to no file"));
                }
                Some(path) if *page == SUMMARY => {
                    contents.insert(path);
                }
                Some(_) => {}
            }
        }
    }
    let of_the_book = |page: &&&str| page.starts_with("docs/") && **page != SUMMARY;
    let hidden =
        pages.iter().filter(of_the_book).filter(|page| !contents.contains(Path::new(page)));
    complaints.extend(hidden.map(|page| format!("{page} is not in {SUMMARY}")));
    Ok(complaints)
}

/// Where a link on `page` leads, seen from the root; nothing if that is outside.
fn resolve(page: &str, link: &str) -> Option<PathBuf> {
    let mut path = Path::new(page).parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            Component::Normal(name) => path.push(name),
            _ => return None,
        }
    }
    Some(path)
}

/// The relative links of a page with their lines, without the place within the page they lead to.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (n, line) in text.lines().enumerate() {
        let is_fence = ["```", "~~~"].iter().any(|fence| line.trim_start().starts_with(fence));
        fenced ^= is_fence;
        if fenced || is_fence {
            continue;
        }
        let found = inline_links(line).into_iter().chain(definition(line));
        links.extend(found.filter_map(relative).map(|link| (n + 1, link)));
    }
    links
}

/// `[text](link "title")`, but not within code.
fn inline_links(line: &str) -> Vec<&str> {
    let mut links = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find(['`', ']']) {
        let behind = &rest[at + 1..];
        if rest[at..].starts_with('`') {
            // To the end of the code, or on if it has none.
            rest = behind.find('`').map_or(behind, |end| &behind[end + 1..]);
        } else if let Some(link) = behind.strip_prefix('(')
            && let Some(end) = link.find(')')
        {
            links.push(&link[..end]);
            rest = &link[end..];
        } else {
            rest = behind;
        }
    }
    links
}

/// `[label]: link`.
fn definition(line: &str) -> Option<&str> {
    let (label, link) = line.strip_prefix('[')?.split_once("]:")?;
    (!label.contains(']')).then_some(link)
}

/// The path in a link, if it is one within the tree.
fn relative(link: &str) -> Option<&str> {
    let link = link.split_whitespace().next()?.trim_start_matches('<').trim_end_matches('>');
    let path = link.split(['#', '?']).next().filter(|path| !path.is_empty())?;
    let has_scheme = path.split('/').next().is_some_and(|first| first.contains(':'));
    (!has_scheme).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_they_are_links() {
        let text = "# [a](a.md)\n\
            See [b](../b.md#place \"title\") and ![c](c.png), not `[d](d.md)` nor [e] nor (f).\n\
            ```\n[g](g.md)\n```\n\
            [h]: sub/h.md\n\
            <https://example.org> [i](https://example.org/x.md) [j](#here) [k](mailto:k@example.org)\n";
        assert_eq!(links(text), [(1, "a.md"), (2, "../b.md"), (2, "c.png"), (6, "sub/h.md")]);
    }

    #[test]
    fn a_link_starts_at_its_page() {
        let resolved = |page, link| resolve(page, link).map(|path| path.display().to_string());
        assert_eq!(resolved("docs/a/b.md", "../c.md").as_deref(), Some("docs/c.md"));
        assert_eq!(resolved("README.md", "./docs/c.md").as_deref(), Some("docs/c.md"));
        assert_eq!(resolved("README.md", "../c.md"), None);
        assert_eq!(resolved("README.md", "/etc/passwd"), None);
    }
}
