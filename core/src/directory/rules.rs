//! What must hold in any directory, whoever signed it (protocol.md §2).

use std::collections::{BTreeMap, HashSet};

use super::{DirectoryBody, Node};
use crate::{
    catalogue::Catalogue,
    dealing::ThresholdKey,
    id::{Role, Threshold},
};

/// Longest text in a catalogue, in bytes.
const MAX_TEXT: usize = 256;
/// Most doctypes, fields of one, or concepts.
const MAX_CATALOGUE: usize = 100_000;

/// Checks every rule; the text of the first that is broken.
pub(super) fn check(body: &DirectoryBody) -> Result<(), String> {
    check_names(body)?;
    check_roles(body)?;
    check_members(body, Role::ConceptIndexor, 0, &body.indexors)?;
    for (group, committee) in (0u16..).zip(&body.committees) {
        let threshold = committee.threshold();
        Threshold::of_aggregators(threshold.needed() as u8, threshold.members() as u8)
            .map_err(|error| format!("committee {group}: {error}"))?;
        check_members(body, Role::DataAggregator, group, committee)?;
        let min_verified = usize::from(body.floors.min_verified);
        if min_verified < threshold.needed() || min_verified > threshold.members() {
            return Err(format!(
                "min_verified must lie between the threshold and the size of committee {group}"
            ));
        }
    }
    check_operators(body)?;
    check_floors(body)?;
    check_catalogue(&body.catalogue)
}

fn check_names(body: &DirectoryBody) -> Result<(), String> {
    let nodes = body
        .nodes
        .iter()
        .map(|node| (&node.name, &node.tls_key, &node.signing_key));
    let hosts = body
        .hosts
        .iter()
        .map(|host| (&host.name, &host.tls_key, &host.signing_key));
    let queriers = body
        .queriers
        .iter()
        .map(|querier| (&querier.name, &querier.tls_key, &querier.signing_key));
    let (mut names, mut tls, mut signing) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (name, tls_key, signing_key) in nodes.chain(hosts).chain(queriers) {
        if !names.insert(name) {
            return Err(format!("{name} is listed twice"));
        }
        if !tls.insert(tls_key) || !signing.insert(signing_key) {
            return Err(format!("{name} has a key of somebody else"));
        }
    }
    let addresses = body
        .nodes
        .iter()
        .map(|node| (&node.name, &node.address))
        .chain(body.hosts.iter().map(|host| (&host.name, &host.address)));
    for (name, address) in addresses {
        let port = address.rsplit_once(':').map(|(_, port)| port);
        if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(format!("the address of {name} is not host:port"));
        }
    }
    if let Some(querier) = body.queriers.iter().find(|q| q.purposes.is_empty()) {
        return Err(format!("querier {} has no purpose", querier.name));
    }
    Ok(())
}

fn check_roles(body: &DirectoryBody) -> Result<(), String> {
    let count = |role| body.nodes.iter().filter(|node| node.role == role).count();
    for role in [Role::Conductor, Role::TargetFinder, Role::Target] {
        if count(role) != 1 {
            return Err(format!("there must be exactly one {role}"));
        }
    }
    if body.committees.len() != 1 {
        return Err("there must be exactly one committee of data aggregators".into());
    }
    for node in &body.nodes {
        let place = match node.role {
            Role::ConceptIndexor | Role::DataAggregator => node.member.is_some(),
            Role::Stack | Role::Querier => {
                return Err(format!("{} is a {}, not a node", node.name, node.role));
            }
            _ => node.member.is_none(),
        };
        let envelope = match node.role {
            Role::Conductor | Role::ConceptIndexor => node.envelope_key.is_some(),
            _ => node.envelope_key.is_none(),
        };
        if !place || !envelope {
            return Err(format!(
                "{} lacks the member number or envelope key of a {}, or has one too many",
                node.name, node.role
            ));
        }
        let suite = |key: &crate::envelope::EnvelopePublicKey| key.suite() == body.suite;
        if !node.envelope_key.as_ref().is_none_or(suite) {
            return Err(format!(
                "the envelope key of {} is of another suite",
                node.name
            ));
        }
    }
    for role in [Role::TargetFinder, Role::Target] {
        let pools: Vec<_> = body
            .pools
            .iter()
            .filter(|pool| pool.role == role && pool.key_epoch == body.key_epoch)
            .collect();
        if pools.len() != 1
            || pools[0].partition != 0
            || pools[0].envelope_key.suite() != body.suite
        {
            return Err(format!(
                "the {role} must have one pool of the current key epoch and suite"
            ));
        }
    }
    Ok(())
}

fn check_members(
    body: &DirectoryBody,
    role: Role,
    group: u16,
    key: &ThresholdKey,
) -> Result<(), String> {
    let members: Vec<&Node> = body
        .nodes
        .iter()
        .filter(|node| node.role == role && node.group == group)
        .collect();
    let complete = key.threshold().numbers().all(|number| {
        members
            .iter()
            .filter(|node| node.member == Some(number))
            .count()
            == 1
    });
    if !complete || members.len() != key.threshold().members() {
        return Err(format!(
            "each place among the {} {role}s must be held by one node",
            key.threshold().members()
        ));
    }
    Ok(())
}

/// No operator may hold two of: the conductor, a target finder, a target, the threshold of concept
/// indexors, the threshold of a committee. Target finder and target together know who was asked.
fn check_operators(body: &DirectoryBody) -> Result<(), String> {
    let mut held: BTreeMap<_, BTreeMap<(Role, u16), usize>> = BTreeMap::new();
    for node in &body.nodes {
        let group = match node.role {
            Role::DataAggregator => node.group,
            _ => 0,
        };
        *held
            .entry(&node.operator)
            .or_default()
            .entry((node.role, group))
            .or_default() += 1;
    }
    for (operator, roles) in held {
        let powers = roles
            .iter()
            .filter(|((role, group), count)| match role {
                Role::ConceptIndexor => **count >= body.indexors.threshold().needed(),
                Role::DataAggregator => body
                    .committees
                    .get(usize::from(*group))
                    .is_none_or(|committee| **count >= committee.threshold().needed()),
                _ => true,
            })
            .map(|((role, _), _)| *role)
            .collect::<Vec<_>>();
        if powers.len() > 1 {
            return Err(format!(
                "operator {operator} holds both {} and {}, which no one may",
                powers[0], powers[1]
            ));
        }
        if powers.contains(&Role::DataAggregator) {
            return Err(format!(
                "operator {operator} holds enough data aggregators to read every value"
            ));
        }
        if powers.contains(&Role::ConceptIndexor) && body.indexors.threshold().needed() > 1 {
            return Err(format!(
                "operator {operator} holds enough concept indexors to test concepts alone"
            ));
        }
    }
    Ok(())
}

fn check_floors(body: &DirectoryBody) -> Result<(), String> {
    let floors = &body.floors;
    if floors.min_cohort < 2 {
        return Err("the minimum cohort must be at least 2".into());
    }
    if floors.answer_rate > 1000 {
        return Err("the answer rate is in thousandths and at most 1000".into());
    }
    if floors.max_homes < u64::from(floors.min_cohort) {
        return Err("max_homes must be at least the minimum cohort".into());
    }
    Ok(())
}

fn check_catalogue(catalogue: &Catalogue) -> Result<(), String> {
    let text = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT;
    if catalogue.doctypes.len() > MAX_CATALOGUE || catalogue.concepts.len() > MAX_CATALOGUE {
        return Err("the catalogue has too many entries".into());
    }
    let mut doctypes = HashSet::new();
    for doctype in &catalogue.doctypes {
        if !text(&doctype.name) || !doctypes.insert(doctype.name.to_lowercase()) {
            return Err(format!(
                "doctype {:?} is unnamed or listed twice",
                doctype.name
            ));
        }
        if doctype.fields.is_empty() || doctype.fields.len() > MAX_CATALOGUE {
            return Err(format!(
                "doctype {:?} has no or too many fields",
                doctype.name
            ));
        }
        let mut fields = HashSet::new();
        for field in &doctype.fields {
            if !text(&field.name) || !fields.insert(field.name.to_lowercase()) {
                return Err(format!(
                    "field {:?} of {:?} is unnamed or listed twice",
                    field.name, doctype.name
                ));
            }
            let range =
                |(low, high): (f64, f64)| low.is_finite() && high.is_finite() && low <= high;
            if !field.range.is_none_or(range) || field.unit.len() > MAX_TEXT {
                return Err(format!(
                    "the range or unit of {:?} of {:?} is not one",
                    field.name, doctype.name
                ));
            }
        }
    }
    let mut concepts = HashSet::new();
    for concept in &catalogue.concepts {
        if !text(concept) || !concept.contains('>') || !concepts.insert(concept) {
            return Err(format!(
                "concept {concept:?} is listed twice or not of the form a>b"
            ));
        }
    }
    Ok(())
}
