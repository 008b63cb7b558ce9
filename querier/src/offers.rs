//! Offers: fresh keys of the aggregators for one query.

use dispers_base::{
    encoding::{decode, to_bytes},
    id::{Role, Timestamp},
    signed::Signed,
};
use dispers_core::{
    manifest::Terms,
    offer::{Offer, OfferRequest},
};
use dispers_node::rng;
use dispers_proto::v1::Message;
use dispers_trust::directory::Node;
use rand::Rng;

use crate::{Error, Querier, conductors::refused};

impl Querier {
    /// Requests an offer from each aggregator of each committee. Returns one `Terms` per committee, with `None` for
    /// each aggregator that made no valid offer.
    pub(crate) async fn offers(
        &self,
        issued: Timestamp,
        expires: Timestamp,
    ) -> Result<Vec<Terms>, Error> {
        let directory = &self.node.directory;
        let mut nonce = [0; 16];
        rng().fill_bytes(&mut nonce);
        let request = OfferRequest {
            querier: self.node.name.clone(),
            nonce,
            issued,
            expires,
        };
        let body = to_bytes(&Signed::new(&request, &self.node.signing));
        let reply = self.conductors.call(|mut conductor| {
            let body = body.clone();
            async move { conductor.offers(Message { body }).await }
        });
        let reply = reply.await.map_err(|status| refused(&status))?;
        // Offers come in the order of committees and members. An aggregator without one has empty bytes, which do not
        // decode.
        let mut received = reply.offers.iter().map(Vec::as_slice);
        let terms = (0u16..).zip(&directory.committees).map(|(group, key)| {
            let threshold = key.threshold();
            let offers = threshold.numbers().map(|member| {
                let aggregator = directory.member(Role::DataAggregator, group, member);
                self.offer(received.next()?, aggregator?, expires)
            });
            Terms {
                offers: offers.collect(),
                needed: threshold.needed() as u8,
                key: *key.key(),
            }
        });
        Ok(terms.collect())
    }

    /// Decodes an offer that `aggregator` made to this querier. Returns `None` if it is not valid.
    fn offer(&self, bytes: &[u8], aggregator: &Node, expires: Timestamp) -> Option<Offer> {
        let offer: Offer = decode(bytes).ok()?;
        // The Conductor relays offers and could change the key in one. An offer therefore counts only if the
        // directory's key of this aggregator verifies it (protocol.md §12).
        let mine = offer.body.aggregator == aggregator.name
            && offer.body.querier == self.node.name
            && offer.body.expires == expires;
        (mine && offer.verify(&aggregator.signing_key).is_ok()).then_some(offer)
    }
}
