//! Which page comes after which.

use super::api::{Answer, Api, NoAnswer, shown};
use super::records::{Page, mark};
use crate::error::RunError;
use sha2::{Digest, Sha256};
use shared::models::connector::Pagination;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use url::Url;

/// Records a page where neither the connector nor the API says.
const PAGE_SIZE: u64 = 100;
/// The most pages of a source.
const MAX_PAGES: u64 = 10_000_000;
/// Pages of one and the same record after which an API counts as one that repeats itself.
const SAME_RECORD: u32 = 100;

/// Goes from page to page.
#[derive(Debug)]
pub struct Pager {
    api: Arc<Api>,
    pagination: Pagination,
    path: Option<String>,
    next: Next,
    /// Cursors and links that were followed.
    seen: HashSet<[u8; 16]>,
    /// Pages so far.
    pages: u64,
    /// What the last page held, and how often in a row.
    last: Option<([u8; 16], u32)>,
    /// Whether some page had as many records as were asked for: an API may give fewer at a time than that.
    full: bool,
    /// Whether some page held others than the one before it: the API knows the parameter of the number.
    turns: bool,
    /// Where the last page was.
    before: Option<Url>,
}

/// Where the next page is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// The page or the record of this number.
    Number(u64),
    Cursor(Option<String>),
    Link(Url),
    End,
}

impl Pager {
    /// Before the first page.
    pub fn new(api: Arc<Api>, pagination: Pagination, path: Option<String>) -> Self {
        let next = match &pagination {
            Pagination::None | Pagination::Cursor { .. } => Next::Cursor(None),
            Pagination::Page { first_page, .. } => Next::Number(first_page.unwrap_or(1)),
            Pagination::Offset { .. } => Next::Number(0),
            Pagination::Link { .. } => Next::Link(api.url.clone()),
        };
        Self {
            api,
            pagination,
            path,
            next,
            seen: HashSet::new(),
            pages: 0,
            last: None,
            full: false,
            turns: false,
            before: None,
        }
    }

    /// The next page; none after the last one. After an error the same page is asked for again.
    ///
    /// # Errors
    /// As the API says; `Kind::Source` where the answer is no page, or one that was there before.
    pub async fn next(&mut self) -> Result<Option<Page>, RunError> {
        let Some(url) = self.url() else { return Ok(None) };
        let api = Arc::clone(&self.api);
        let Answer { url: from, text, links } = match api.ask_for(&url).await {
            Ok(answer) => answer,
            Err(NoAnswer::Missing(error)) => return self.end_of_numbers(error).await,
            Err(NoAnswer::Refused(error)) => return Err(error),
        };
        let number = self.pages + 1;
        let fault = |what: &str| api.fault(&from, &format!("(page {number}) {what}"));
        let page = Page::of(text, self.path.as_deref()).map_err(|what| fault(&what))?;
        if self.repeats(&page).map_err(|what| fault(&what))? {
            self.next = Next::End;
            return Ok(None);
        }
        let next = self.after(&from, &links, &page)?;
        if number >= MAX_PAGES && next != Next::End {
            return Err(fault(&format!("is not the last after {MAX_PAGES} pages")));
        }
        self.next = next;
        self.pages = number;
        self.before = Some(url);
        api.pages.fetch_add(1, Relaxed);
        Ok(Some(page))
    }

    /// Some APIs have nothing where the page behind the last one would be. That the page before is still there shows
    /// that it is not all of them that went away.
    async fn end_of_numbers(&mut self, missing: RunError) -> Result<Option<Page>, RunError> {
        let (Next::Number(_), Some(before)) = (&self.next, &self.before) else { return Err(missing) };
        self.api.ask(before).await?;
        self.next = Next::End;
        Ok(None)
    }

    /// Whether the first page said that there are no others, where a mark would lead to them.
    pub fn ended_without_mark(&self) -> bool {
        let marks = matches!(self.pagination, Pagination::Cursor { .. } | Pagination::Link { .. });
        marks && self.pages == 1 && self.next == Next::End
    }

    fn url(&self) -> Option<Url> {
        let base = &self.api.url;
        Some(match (&self.pagination, &self.next) {
            (_, Next::End) => return None,
            (_, Next::Link(url)) => url.clone(),
            (Pagination::Page { page_param, size_param, page_size, .. }, Next::Number(number)) => {
                let url = with(base, page_param.as_deref().unwrap_or("page"), &number.to_string());
                match page_size {
                    Some(size) => with(&url, size_param.as_deref().unwrap_or("per_page"), &size.to_string()),
                    None => url,
                }
            }
            (Pagination::Offset { offset_param, limit_param, page_size }, Next::Number(number)) => {
                let url = with(base, offset_param.as_deref().unwrap_or("offset"), &number.to_string());
                let size = page_size.unwrap_or(PAGE_SIZE);
                with(&url, limit_param.as_deref().unwrap_or("limit"), &size.to_string())
            }
            (Pagination::Cursor { cursor_param, .. }, Next::Cursor(Some(cursor))) => {
                with(base, cursor_param.as_deref().unwrap_or("cursor"), cursor)
            }
            (_, Next::Cursor(_) | Next::Number(_)) => base.clone(),
        })
    }

    /// The records that were asked for at a time, where somebody said how many.
    fn size(&self) -> Option<u64> {
        match &self.pagination {
            Pagination::Page { page_size, .. } | Pagination::Offset { page_size, .. } => *page_size,
            _ => None,
        }
    }

    /// Whether a page holds what the last one held, which some APIs answer behind it.
    ///
    /// # Errors
    /// Numbered pages never end where the API does not know the parameter of the number.
    fn repeats(&mut self, page: &Page) -> Result<bool, String> {
        let (param, Next::Number(_)) = (
            match &self.pagination {
                Pagination::Page { page_param, .. } => page_param.as_deref().unwrap_or("page"),
                Pagination::Offset { offset_param, .. } => offset_param.as_deref().unwrap_or("offset"),
                _ => return Ok(false),
            },
            &self.next,
        ) else {
            return Ok(false);
        };
        let mut hash = Sha256::new();
        for index in 0..page.records.len() {
            hash.update(page.record(index));
            hash.update([0]);
        }
        let hash = short(hash);
        let times = match self.last {
            Some((last, times)) if last == hash && !page.records.is_empty() => times + 1,
            _ => 0,
        };
        if times > 0 && (page.records.len() > 1 || times >= SAME_RECORD) {
            let short = self.size().is_some_and(|size| (page.records.len() as u64) < size);
            if short && self.turns {
                return Ok(true);
            }
            return Err(format!(
                "holds the very records of the page before; does the API know the parameter {param:?}? Where one page is all, \
                 set pagination to none"
            ));
        }
        self.turns |= self.last.is_some_and(|(last, _)| last != hash);
        self.last = Some((hash, times));
        Ok(false)
    }

    fn after(&mut self, from: &Url, links: &[String], page: &Page) -> Result<Next, RunError> {
        let (api, number) = (Arc::clone(&self.api), self.pages + 1);
        let fault = |what: String| api.fault(from, &format!("(page {number}) {what}"));
        let records = page.records.len() as u64;
        match (&self.pagination, &self.next) {
            (Pagination::Page { .. } | Pagination::Offset { .. }, Next::Number(this)) => {
                let step = if matches!(self.pagination, Pagination::Page { .. }) { 1 } else { records };
                // An API that never gives as many as it is asked for may have a limit of its own.
                let short = self.size().is_some_and(|size| records < size);
                let next = if records == 0 || short && self.full { Next::End } else { Next::Number(this + step) };
                self.full |= !short;
                Ok(next)
            }
            (Pagination::Cursor { cursor_path, .. }, _) => {
                let Some(cursor) = mark(&page.text, cursor_path).map_err(fault)? else { return Ok(Next::End) };
                if !self.seen.insert(short(Sha256::new().chain_update(&cursor))) {
                    let cursor: String = cursor.chars().take(60).collect();
                    return Err(fault(format!(
                        "leads to the cursor {cursor:?} again, where it has been before; the pages would never end"
                    )));
                }
                Ok(Next::Cursor(Some(cursor)))
            }
            (Pagination::Link { next_path }, Next::Link(this)) => {
                let named = match next_path {
                    Some(path) => mark(&page.text, path).map_err(fault)?,
                    None => links.iter().find_map(|link| next_link(link)),
                };
                let Some(named) = named else { return Ok(Next::End) };
                let url = api.hop(from, &named, "leads on")?;
                self.seen.insert(short(Sha256::new().chain_update(this.as_str())));
                if self.seen.contains(&short(Sha256::new().chain_update(url.as_str()))) {
                    return Err(fault(format!(
                        "leads to {} again, where it has been before; the pages would never end",
                        shown(&url)
                    )));
                }
                Ok(Next::Link(url))
            }
            _ => Ok(Next::End),
        }
    }
}

fn short(hash: Sha256) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    short
}

/// The URL with this parameter, in the place of one that it may have.
fn with(url: &Url, key: &str, value: &str) -> Url {
    let others: Vec<(String, String)> =
        url.query_pairs().filter(|(k, _)| k != key).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(key, value);
    url
}

/// The address with `rel="next"` of a header `Link`.
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    loop {
        let start = rest.find('<')?;
        let end = start + rest.get(start..)?.find('>')?;
        let address = rest.get(start + 1..end)?;
        let after = rest.get(end + 1..)?;
        let length = outside_quotes(after, ',');
        let mut parameters = after.get(..length.unwrap_or(after.len()))?;
        let mut is_next = false;
        while let Some(end) = outside_quotes(parameters, ';') {
            parameters = parameters.get(end + 1..)?;
            let parameter = parameters.get(..outside_quotes(parameters, ';').unwrap_or(parameters.len()))?;
            let Some((key, value)) = parameter.split_once('=') else { continue };
            let mut relations = value.trim().trim_matches('"').split_whitespace();
            is_next |= key.trim().eq_ignore_ascii_case("rel") && relations.any(|rel| rel.eq_ignore_ascii_case("next"));
        }
        if is_next {
            return Some(address.trim().to_owned());
        }
        rest = after.get(length? + 1..)?;
    }
}

/// Where a character stands first that is in no quotes.
fn outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    text.find(|c| {
        quoted ^= c == '"';
        c == wanted && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        let of = |text: &str| next_link(text);
        assert_eq!(of("<https://a/2>; rel=\"next\""), Some("https://a/2".to_owned()));
        assert_eq!(
            of("<a?x=1,2>; title=\"a, <b>; rel=next\"; rel=prev, </3>; rel=\"last next\""),
            Some("/3".to_owned())
        );
        assert_eq!(of("<a>; REL=Next"), Some("a".to_owned()));
        assert_eq!(of("<a>; rel=prev"), None);
        assert_eq!(of("nonsense, <"), None);
    }

    #[test]
    fn a_parameter_replaces_its_namesake() {
        let url = Url::parse("https://a/b?page=7&q=x%20y").unwrap();
        assert_eq!(with(&url, "page", "2&").as_str(), "https://a/b?q=x+y&page=2%26");
    }
}
