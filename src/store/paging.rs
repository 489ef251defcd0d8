//! Pages of index entries.

use bytes::Bytes;

/// Takes a page of about `limit` entries that ends where a term ends, so that the next page can
/// begin after a term: whole terms while they fit, but at least one term with all of its values.
pub(super) fn whole_terms<E>(
    entries: impl Iterator<Item = Result<(Bytes, Bytes), E>>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, E> {
    let mut page: Vec<(Bytes, Bytes)> = Vec::new();
    if limit == 0 {
        return Ok(page);
    }
    for entry in entries {
        let entry = entry?;
        if page.len() >= limit {
            let last = &page[page.len() - 1].0;
            if *last != entry.0 {
                break;
            }
            let start = page.iter().position(|(term, _)| term == last).unwrap_or(0);
            if start > 0 {
                page.truncate(start);
                break;
            }
        }
        page.push(entry);
    }
    Ok(page)
}
