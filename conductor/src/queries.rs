//! The queries of a Conductor, until they expire. In memory: a Conductor that restarts loses them,
//! safely, since nothing is released without it asking for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dispers_core::{
    conduct::Status,
    id::{MemberNumber, Name, QueryId, Timestamp},
    release::SealedTotal,
};
use tokio::sync::watch;

use crate::Error;

/// The sealed totals of a query that is done.
pub(crate) type Totals = Arc<Vec<(MemberNumber, SealedTotal)>>;

/// What the query's task tells whoever watches.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    pub(crate) totals: Option<Totals>,
}

struct Kept {
    querier: Name,
    expires: Timestamp,
    progress: watch::Receiver<Progress>,
}

/// The queries.
pub(crate) struct Queries {
    kept: Mutex<HashMap<QueryId, Kept>>,
    max_queries: usize,
}

impl Queries {
    pub(crate) fn new(max_queries: usize) -> Self {
        Self {
            kept: Mutex::default(),
            max_queries,
        }
    }

    /// Keeps a query; `None` when it is kept already.
    pub(crate) fn insert(
        &self,
        query: QueryId,
        querier: Name,
        expires: Timestamp,
        start: Progress,
        now: Timestamp,
    ) -> Result<Option<watch::Sender<Progress>>, Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, query| !query.expires.has_passed(now));
        if kept.contains_key(&query) {
            return Ok(None);
        }
        if kept.len() >= self.max_queries {
            return Err(Error::Full("queries"));
        }
        let (sender, progress) = watch::channel(start);
        kept.insert(
            query,
            Kept {
                querier,
                expires,
                progress,
            },
        );
        Ok(Some(sender))
    }

    /// A query's progress, for its own querier only.
    pub(crate) fn watch(
        &self,
        query: QueryId,
        querier: &Name,
    ) -> Result<watch::Receiver<Progress>, Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let query = kept.get(&query).ok_or(Error::UnknownQuery)?;
        if query.querier != *querier {
            return Err(Error::OtherQuerier);
        }
        Ok(query.progress.clone())
    }
}
