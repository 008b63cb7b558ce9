//! Witness of the log, which co-signs one history and never a second (protocol.md §16).

use std::sync::Arc;

use dispers_base::{
    encoding::{decode, from_bytes, to_bytes},
    id::Role,
};
use dispers_core::log::{Cosign, CosignReply, Head, LogError, MAX_COSIGN, Witnessed};
use dispers_proto::v1::{
    Message,
    witness_server::{Witness, WitnessServer},
};
use rusqlite::{OptionalExtension, params};
use tonic::{Request, Response, Status, service::Routes};

use crate::{
    Database, DatabaseError, Fault, Node, Schema, Storage, blocking, clock::now, require_role,
};

static SCHEMA: Schema = Schema {
    role: "witness",
    application: 0x4453_5749,
    migrations: &["
CREATE TABLE last (log INTEGER PRIMARY KEY, head BLOB NOT NULL, signed BLOB NOT NULL);
CREATE TABLE fork (
    number INTEGER PRIMARY KEY, kept BLOB NOT NULL, offered BLOB NOT NULL, at INTEGER NOT NULL
);
"],
    damaged: "ask for another witness in its place: from an older copy, or from nothing, this one might co-sign a second history",
};

/// Most pairs of contradicting heads that are kept. The bound keeps a conductor from filling the disk.
const MAX_FORKS: i64 = 100;

/// Witness of the log. The head that it co-signed last is on the disk before its signature leaves.
pub struct Cosigner {
    node: Arc<Node>,
    database: Arc<Database>,
}

impl Cosigner {
    /// Adds the service of a witness to the routes of a role, if the directory lists `node` as a witness. A witness has a
    /// database of its own: it must remember the head that it co-signed last, whatever else the node does.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn add_if_listed(
        node: &Arc<Node>,
        storage: &Storage,
        routes: Routes,
    ) -> Result<Routes, DatabaseError> {
        if !node.directory.witnesses.names.contains(&node.name) {
            return Ok(routes);
        }
        let cosigner = Self {
            node: node.clone(),
            database: Arc::new(storage.open(&SCHEMA)?),
        };
        Ok(routes.add_service(WitnessServer::new(cosigner)))
    }
}

/// Outcome of a request to co-sign.
enum Considered {
    Reply(CosignReply),
    Refused(LogError),
}

fn consider(
    node: &Node,
    database: &Database,
    request: &Cosign,
) -> Result<Considered, DatabaseError> {
    // A head of another log has another number, and is refused.
    let log = node.directory.witnesses.log;
    // All steps are in one transaction, so that concurrent requests see each other's heads. Otherwise two heads that
    // contradict each other could be co-signed at the same time.
    let considered = database.write(|rows| {
        let kept: Option<(Vec<u8>, Vec<u8>)> = rows
            .query_row(
                "SELECT head, signed FROM last WHERE log = ?1",
                [log],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let last = kept.as_ref().map(|(head, _)| decode(head));
        // A witness that cannot read its last head signs nothing: it might co-sign a second history.
        let Ok(last) = last.transpose() else {
            return Ok(None);
        };
        let last: Witnessed = Witnessed(last);
        let considered = last.consider(request, &node.directory, now());
        Ok(Some(match considered {
            Ok(Ok(head)) => {
                let head: Head = head;
                rows.execute(
                    "INSERT OR REPLACE INTO last VALUES (?1, ?2, ?3)",
                    params![log, to_bytes(&head), to_bytes(&request.head)],
                )?;
                Considered::Reply(CosignReply::Signed(request.head.cosign(&node.signing)))
            }
            Ok(Err(size)) => Considered::Reply(CosignReply::From(size)),
            Err(error) => {
                // Both heads carry signatures of a conductor, and together prove its fault.
                if let (LogError::Forked, Some((_, signed))) = (error, kept) {
                    rows.execute(
                        "INSERT INTO fork (kept, offered, at) SELECT ?1, ?2, ?3
                         WHERE (SELECT COUNT(*) FROM fork) < ?4",
                        params![signed, to_bytes(&request.head), now().0 as i64, MAX_FORKS],
                    )?;
                }
                Considered::Refused(error)
            }
        }))
    })?;
    considered.ok_or_else(|| database.unreadable("last"))
}

#[tonic::async_trait]
impl Witness for Cosigner {
    async fn cosign(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        require_role(&request, Role::Conductor)?;
        let request: Cosign = from_bytes(&request.into_inner().body, MAX_COSIGN, "request")
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (node, database) = (self.node.clone(), self.database.clone());
        let considered = blocking(move || {
            consider(&node, &database, &request).map_err(|error| Fault::Us.status(&error))
        });
        match considered.await? {
            Considered::Reply(reply) => Ok(Response::new(Message {
                body: to_bytes(&reply),
            })),
            Considered::Refused(error) => {
                if error == LogError::Forked {
                    tracing::warn!(
                        node = %self.node.name,
                        "the conductor shows a history of the log that contradicts the one co-signed here; both heads are kept"
                    );
                }
                Err(Fault::Caller.status(&error))
            }
        }
    }
}
