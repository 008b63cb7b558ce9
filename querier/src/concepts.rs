//! Concepts of a target profile, translated into pseudonyms.

use std::error::Error as _;

use dispers_base::{
    encoding::{decode, to_bytes},
    id::{MemberNumber, Role},
};
use dispers_core::evaluation::{Evaluating, Requester};
use dispers_crypto::oprf::{Evaluation, Pseudonym};
use dispers_node::{now, rng};
use dispers_proto::v1::EvaluateRequest;
use dispers_query::profile::Profile;

use crate::{Error, Querier, conductors::refused};

impl Querier {
    /// Translates the concepts of a target profile into pseudonyms, with the first indexors that answer.
    pub(crate) async fn pseudonyms(
        &self,
        profile: &Profile<String>,
    ) -> Result<Profile<Pseudonym>, Error> {
        let directory = &self.node.directory;
        let keys = directory.asked_keys();
        // Each concept is evaluated once. The search at the end needs the order.
        let mut concepts: Vec<&str> = profile.atoms().map(String::as_str).collect();
        concepts.sort_unstable();
        concepts.dedup();
        let evaluating = Evaluating::new(&concepts, &mut rng())?;
        let requests = evaluating.requests(
            &Requester::Querier(self.node.name.clone()),
            &self.node.signing,
            directory,
            keys.key_epoch,
            now(),
            &mut rng(),
        );
        let needed = keys.indexors.threshold().needed();
        let mut evaluations: Vec<(MemberNumber, Evaluation)> = Vec::new();
        let mut missing = Vec::new();
        for (member, sealed) in requests {
            if evaluations.len() == needed {
                break;
            }
            let node = directory.member(Role::ConceptIndexor, 0, member);
            let name = node.map_or("", |node| node.name.as_str());
            let request = EvaluateRequest {
                member: member.point().into(),
                sealed: to_bytes(&sealed),
            };
            let evaluated = self.conductors.call(|mut conductor| {
                let request = request.clone();
                async move { conductor.evaluate(request).await }
            });
            match evaluated.await {
                Ok(reply) => {
                    let body = reply.body;
                    let checked = decode(&body).map_err(|error| error.to_string()).and_then(
                        |evaluation: Evaluation| {
                            let checked = evaluating.check(&keys, member, &evaluation);
                            checked.map_err(|error| error.to_string())?;
                            Ok(evaluation)
                        },
                    );
                    match checked {
                        Ok(evaluation) => evaluations.push((member, evaluation)),
                        Err(reason) => missing.push(format!("{name} ({reason})")),
                    }
                }
                // A status with a source was made by this node: it cannot reach any Conductor, so that the next indexor
                // would fail too.
                Err(status) if status.source().is_some() => return Err(refused(&status)),
                Err(status) => {
                    missing.push(format!("{name} ({})", status.message()));
                }
            }
        }
        if evaluations.len() < needed {
            return Err(Error::TooFewIndexors { needed, missing });
        }
        let pseudonyms = evaluating.finish(&keys, &evaluations)?;
        Ok(profile.map(|concept| {
            let place = concepts.binary_search(&concept.as_str());
            pseudonyms[place.expect("every atom was evaluated")]
        }))
    }
}
