//! Totals: fetched from the Conductors, opened, and decoded into a table.

use dispers_base::{
    encoding::decode,
    id::{AggregatorId, MemberNumber, QueryId},
};
use dispers_core::{
    manifest::ManifestError,
    release::{Released, SealedTotal, noise_of, open_totals},
};
use dispers_node::rng;
use dispers_proto::v1::Query;
use dispers_sql::decode::Table;

use crate::{
    Asked, Error, Querier,
    conductors::{patiently, refused},
};

impl Querier {
    /// Fetches the sealed totals of a query's latest round.
    pub(crate) async fn totals(
        &self,
        query: QueryId,
    ) -> Result<Vec<(AggregatorId, SealedTotal)>, Error> {
        let reply = patiently(|| async {
            let id = query.0.to_vec();
            let totals = self.conductors.call(|mut conductor| {
                let id = id.clone();
                async move { conductor.totals(Query { id }).await }
            });
            totals.await.map_err(|status| refused(&status))
        });
        let mut totals = Vec::new();
        for total in reply.await?.totals {
            let number = u8::try_from(total.member).ok();
            let member = number.and_then(|n| MemberNumber::new(n).ok());
            // A total without a possible member or committee is left out. The others may be enough.
            if let Some((member, committee)) = member.zip(total.committee.try_into().ok()) {
                let aggregator = AggregatorId { committee, member };
                totals.push((aggregator, decode(&total.sealed)?));
            }
        }
        Ok(totals)
    }

    /// Opens the sealed totals of a question and decodes them into a table.
    pub(crate) fn open_answer(
        &self,
        asked: &Asked,
        totals: &[(AggregatorId, SealedTotal)],
    ) -> Result<(Released, Table), Error> {
        let manifest = &asked.manifest;
        let released = open_totals(manifest, totals, &asked.reply, self.directory())?;
        let cohort = manifest.min_cohort;
        let decoder = &asked.plan.decoder;
        let Some(privacy) = &manifest.privacy else {
            let table = decoder.decode(&released.numbers(false), cohort)?;
            return Ok((released, table));
        };
        // Each committee's noise depends on the number of its members that dealt, which is known only after the
        // release. The standard errors follow from it.
        let noise = noise_of(manifest, manifest.circuit(), privacy, &released.dealers);
        let noise = noise.map_err(ManifestError::Privacy)?;
        let numbers = released.numbers(true);
        let table = decoder.decode_noisy(&numbers, cohort, &noise, &mut rng())?;
        Ok((released, table))
    }
}
