//! What all pages share: the menu, the filter, and the addresses of the list's other parts.

use crate::admin::AdminState;
use crate::admin::lists::ListQuery;
use crate::limits::{ROWS_DEFAULT, ROWS_MAX};
use crate::lookups::{Listing, Order};
use crate::web::Asked;
use crate::web::text::{href, number};

/// Menu of every page.
const PAGES: [(&str, &str); 7] = [
    ("/", "Findings"),
    ("/routes", "Routes"),
    ("/requests", "Requests"),
    ("/statements", "Statements"),
    ("/tap", "Tap"),
    ("/cache", "Cache"),
    ("/health", "Health"),
];

/// What surrounds a page's own content.
pub(super) struct Frame {
    /// Name in the menu; empty for none.
    pub(super) page: &'static str,
    pub(super) title: String,
    /// Address of the list without anything asked.
    pub(super) path: String,
    pub(super) filter: String,
    /// What is wrong with what was asked.
    pub(super) problem: Option<String>,
    /// The list's order by name; empty for its own.
    pub(super) order: &'static str,
    /// Whether nothing was dropped.
    pub(super) complete: bool,
    pub(super) has_login: bool,
    pub(super) has_tap: bool,
    /// Rows of the whole list.
    pub(super) total: usize,
    /// What else the list was asked for.
    pub(super) extra: Vec<(&'static str, String)>,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Frame {
    /// Of a page without a list.
    pub(super) fn new(state: &AdminState, page: &'static str, title: &str) -> Self {
        Self {
            page,
            title: title.to_owned(),
            path: PAGES.iter().find(|(_, name)| *name == page).map_or("/", |(path, _)| path).to_owned(),
            filter: String::new(),
            problem: None,
            order: "",
            complete: true,
            has_login: state.live.borrow().admin_token.is_some(),
            has_tap: state.live.borrow().has_tap,
            total: 0,
            extra: Vec::new(),
            offset: 0,
            limit: ROWS_DEFAULT,
        }
    }

    /// Of a page with a list, and which part of it is shown. With a wrong filter nothing is filtered, and the page says
    /// what is wrong.
    pub(super) fn of_list(
        state: &AdminState,
        page: &'static str,
        asked: Asked,
    ) -> (Self, Listing, ListQuery) {
        let (query, mut problem) = match asked {
            Ok(query) => (query.0, None),
            Err(rejection) => (ListQuery::default(), Some(rejection.body_text())),
        };
        let limit = query.limit.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX);
        let listing = match query.listing() {
            Ok(listing) => Listing { limit, ..listing },
            Err(error) => {
                problem = Some(error.to_string());
                Listing { order: query.sort, limit, ..Listing::default() }
            }
        };
        let frame = Self {
            filter: query.filter.clone(),
            problem,
            order: query.sort.map_or("", Order::name),
            offset: listing.offset,
            limit,
            ..Self::new(state, page, page)
        };
        (frame, listing, query)
    }

    pub(super) fn pages(&self) -> Vec<(&'static str, &'static str, bool)> {
        let shown = PAGES.iter().filter(|(path, _)| self.has_tap || *path != "/tap");
        shown.map(|(path, name)| (*path, *name, *name == self.page)).collect()
    }

    pub(super) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// What the filter's form has to keep.
    pub(super) fn kept(&self) -> Vec<(&'static str, String)> {
        let order = (!self.order.is_empty()).then(|| ("sort", self.order.to_owned()));
        let limit = (self.limit != ROWS_DEFAULT).then(|| ("limit", self.limit.to_string()));
        self.extra.iter().cloned().chain(order).chain(limit).collect()
    }

    fn address(&self, order: &str, offset: usize) -> String {
        let mut pairs: Vec<(&str, String)> = self.extra.clone();
        let mut add = |name, value: String| {
            if !value.is_empty() && value != "0" {
                pairs.push((name, value));
            }
        };
        add("filter", self.filter.clone());
        add("sort", order.to_owned());
        add("offset", offset.to_string());
        if self.limit != ROWS_DEFAULT {
            add("limit", self.limit.to_string());
        }
        href(&self.path, &pairs)
    }

    /// Address of this page.
    pub(super) fn here(&self) -> String {
        self.address(self.order, self.offset)
    }

    /// Address of the list in another order.
    pub(super) fn sorted(&self, order: &str) -> String {
        self.address(order, 0)
    }

    /// Address of the list without the filter.
    pub(super) fn unfiltered(&self) -> String {
        href(&self.path, &self.extra)
    }

    /// Address of the part before.
    pub(super) fn before(&self) -> Option<String> {
        (self.offset > 0).then(|| self.address(self.order, self.offset.saturating_sub(self.limit)))
    }

    /// Address of the part behind.
    pub(super) fn after(&self) -> Option<String> {
        let next = self.offset.saturating_add(self.limit);
        (next < self.total).then(|| self.address(self.order, next))
    }

    /// Which part this is, in words.
    pub(super) fn range(&self) -> String {
        let last = self.offset.saturating_add(self.limit).min(self.total);
        let first = self.offset.saturating_add(1).min(last);
        format!("{} to {} of {}", number(first as u64), number(last as u64), number(self.total as u64))
    }
}
