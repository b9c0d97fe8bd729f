//! Pages of lists: `?limit=`, `?cursor=`, `?includeTotal=` in; `data` and `pagination` out.

use super::{Request, Response};
use crate::context::Context;
use crate::error::{Result, both};
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
}

impl ListInput {
    /// The query of a list with 20 items a page unless it says otherwise, 1 to 100.
    ///
    /// # Errors
    /// A fault at each parameter that is wrong.
    pub fn read(request: &Request) -> Result<Self> {
        Self::with(request, 20, 100)
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// A fault at each parameter that is wrong.
    pub fn with(request: &Request, default: usize, max: usize) -> Result<Self> {
        let (limit, total) = both(request.limit(default, max), request.flag("includeTotal"))?;
        Ok(Self {
            limit,
            cursor: request.query("cursor").map(str::to_owned),
            total,
            path: request.path.clone(),
            filters: String::new(),
        })
    }

    /// The position that the cursor holds; none on the first page.
    ///
    /// # Errors
    /// A fault at `?cursor` where it is not one of this tenant, path and filters.
    pub fn position<T: DeserializeOwned>(&self, context: &Context) -> Result<Option<T>> {
        match &self.cursor {
            None => Ok(None),
            Some(cursor) => context.cursors.open(context.tenant(), &self.path, &self.filters, cursor).map(Some),
        }
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
}
