//! Pages of lists: `?limit=`, `?cursor=`, `?includeTotal=` in; `data` and `pagination` out.

use super::{Request, Response};
use crate::context::Context;
use crate::error::{Error, Fault, Result, both};
use crate::store::resources::{Listed, Slice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListInput {
    pub limit: usize,
    pub cursor: Option<String>,
    pub total: bool,
    /// What a cursor is bound to besides its tenant: the path, and the filters.
    pub path: String,
    pub filters: String,
    /// What is wrong with the above, to be told with what is wrong with the cursor.
    faults: Vec<Fault>,
}

impl ListInput {
    /// The query of a list with 20 items a page unless it says otherwise, 1 to 100. [`Self::position`] tells what is wrong
    /// with it.
    ///
    /// # Errors
    /// None that are faults.
    pub fn read(request: &Request) -> Result<Self> {
        Self::with(request, 20, 100)
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn with(request: &Request, default: usize, max: usize) -> Result<Self> {
        let (limit, total, faults) = match both(request.limit(default, max), request.flag("includeTotal")) {
            Ok((limit, total)) => (limit, total, Vec::new()),
            Err(Error::Invalid(faults)) => (default, false, faults),
            Err(error) => return Err(error),
        };
        Ok(Self {
            limit,
            cursor: request.query("cursor").map(str::to_owned),
            total,
            path: request.path.clone(),
            filters: String::new(),
            faults,
        })
    }

    /// Beside a filter. A cursor is bound to it, so that nothing is known of the cursor where the filter is wrong.
    ///
    /// # Errors
    /// The faults of both, where the filter is wrong.
    pub fn beside<T>(self, filter: Result<T>) -> Result<(T, Self)> {
        match filter {
            Ok(filter) => Ok((filter, self)),
            Err(error) => both(Err(error), self.sound().map(|()| self)),
        }
    }

    /// The position that the cursor holds; none on the first page.
    ///
    /// # Errors
    /// A fault at each parameter that is wrong, such as at `?cursor` where it is not one of this tenant, path and filters.
    pub fn position<T: DeserializeOwned>(&self, context: &Context) -> Result<Option<T>> {
        let opened = match &self.cursor {
            None => Ok(None),
            Some(cursor) => context.cursors.open(context.tenant(), &self.path, &self.filters, cursor).map(Some),
        };
        both(self.sound(), opened).map(|((), position)| position)
    }

    /// The same for a list whose position is a sort key.
    ///
    /// # Errors
    /// As [`Self::position`].
    pub fn slice(&self, context: &Context) -> Result<Slice> {
        Ok(Slice { limit: self.limit, after: self.position(context)?, total: self.total })
    }

    /// The answer to a list whose position is a sort key.
    ///
    /// # Errors
    /// Where it cannot be written as JSON, which is a defect.
    pub fn answer<T, V: Serialize>(
        &self,
        context: &Context,
        listed: Listed<T>,
        view: impl Fn(T) -> V,
    ) -> Result<Response> {
        let data: Vec<V> = listed.items.into_iter().map(view).collect();
        self.page(context, &data, listed.next.as_ref(), listed.total)
    }

    /// The answer with these items, of which the next page begins at `next`.
    ///
    /// # Errors
    /// Where it cannot be written as JSON, which is a defect.
    pub fn page(
        &self,
        context: &Context,
        data: &impl Serialize,
        next: Option<&impl Serialize>,
        total: Option<(u64, bool)>,
    ) -> Result<Response> {
        let cursor = next.map(|next| self.seal(context, next)).transpose()?;
        let mut pagination = json!({"limit": self.limit, "hasMore": cursor.is_some(), "cursor": cursor});
        if let Some((total, at_least)) = total {
            pagination["total"] = total.into();
            if at_least {
                pagination["totalIsAtLeast"] = Value::Bool(true);
            }
        }
        #[derive(Serialize)]
        struct Body<'a, D: Serialize> {
            data: &'a D,
            pagination: Value,
        }
        Response::ok(&Body { data, pagination })
    }

    /// The cursor of a page that begins at `next`.
    ///
    /// # Errors
    /// Where the position cannot be sealed, which is a defect.
    pub fn seal(&self, context: &Context, next: &impl Serialize) -> Result<String> {
        context.cursors.seal(context.tenant(), &self.path, &self.filters, next)
    }

    fn sound(&self) -> Result<()> {
        if self.faults.is_empty() { Ok(()) } else { Err(Error::Invalid(self.faults.clone())) }
    }
}
