//! Homes in any number: a home's documents are computed when it is asked, so that millions of homes take no memory.

use std::{collections::BTreeMap, sync::Arc};

use dispers_core::subscription::HomeId;
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
    local::FieldValue,
};
use dispers_stack::{Connector, Document, Selector, Store};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{Error, population::Population};

/// The only doctype of synthetic homes.
const DOCTYPE: &str = "health";

/// Homes that have an age and a resting heart rate each.
#[derive(Debug, Clone, Copy)]
pub struct Synthetic {
    /// Number of homes.
    pub homes: usize,
    /// Seed of the homes' documents.
    pub seed: u64,
}

/// Document of one home.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// Age in years, 12 to 99.
    pub age: i64,
    /// Resting heart rate in beats per minute, 40 to 160. Its mean is 78 below the age of 25, and rises from 64 to 71
    /// after that.
    pub heart_rate: i64,
}

impl Synthetic {
    /// Returns the document of home number `home`. The same seed and number give the same document.
    pub fn person(&self, home: u64) -> Person {
        // The seed is rotated, so that two small seeds do not share homes' generators.
        let mut rng = StdRng::seed_from_u64(self.seed.rotate_left(32) ^ home);
        let age = rng.random_range(12..100);
        let middle = if age < 25 { 78 } else { 62 + age / 10 };
        let spread: i64 = (0..4).map(|_| rng.random_range(-9..=9)).sum();
        Person {
            age,
            heart_rate: (middle + spread).clamp(40, 160),
        }
    }

    /// Returns the id of a home.
    fn home(number: usize) -> HomeId {
        HomeId(format!("home-{number}"))
    }

    /// Returns the number of a home, or `None` if the id is not one of these homes.
    fn number(&self, home: &HomeId) -> Option<u64> {
        let number: usize = home.0.strip_prefix("home-")?.parse().ok()?;
        (number < self.homes).then_some(number as u64)
    }
}

impl Population for Synthetic {
    fn len(&self) -> usize {
        self.homes
    }

    fn catalogue(&self) -> Catalogue {
        Catalogue {
            doctypes: vec![Doctype {
                name: DOCTYPE.into(),
                cardinality: Cardinality::One,
                fields: vec![
                    integer("age", "years", (12.0, 99.0)),
                    integer("heart_rate", "1/min", (40.0, 160.0)),
                ],
            }],
            concepts: Vec::new(),
        }
    }

    fn settle(&self, _: usize, _: usize, store: Store) -> Result<Store, Error> {
        Ok(store.with_documents(Arc::new(*self)))
    }

    fn homes(&self, host: usize, hosts: usize) -> BTreeMap<HomeId, Vec<String>> {
        let mine = (host..self.homes).step_by(hosts);
        mine.map(|number| (Self::home(number), Vec::new()))
            .collect()
    }
}

impl Connector for Synthetic {
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        _: &Selector,
    ) -> Result<Vec<Document>, dispers_stack::Error> {
        if !doctype.eq_ignore_ascii_case(DOCTYPE) {
            return Ok(Vec::new());
        }
        let documents = (0u32..).zip(homes).filter_map(|(place, home)| {
            let person = self.person(self.number(home)?);
            let values = fields.iter().map(|field| match *field {
                "age" => FieldValue::Integer(person.age),
                "heart_rate" => FieldValue::Integer(person.heart_rate),
                _ => FieldValue::Null,
            });
            Some((place, values.collect()))
        });
        Ok(documents.collect())
    }

    fn homes(&self) -> Result<Vec<HomeId>, dispers_stack::Error> {
        Ok((0..self.homes).map(Self::home).collect())
    }

    fn holds(&self, home: &HomeId) -> Result<bool, dispers_stack::Error> {
        Ok(self.number(home).is_some())
    }
}

fn integer(name: &str, unit: &str, range: (f64, f64)) -> Field {
    Field {
        name: name.into(),
        kind: FieldKind::Integer,
        unit: unit.into(),
        range: Some(range),
        nullable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_holds_the_same_whenever_it_is_asked() {
        let population = Synthetic { homes: 5, seed: 7 };
        let homes: Vec<HomeId> = Population::homes(&population, 1, 2).into_keys().collect();
        assert_eq!(homes, [HomeId("home-1".into()), HomeId("home-3".into())]);
        let person = population.person(3);
        let documents =
            population.documents("Health", &["heart_rate", "x"], &homes, &Selector::default());
        let read = vec![FieldValue::Integer(person.heart_rate), FieldValue::Null];
        // Documents have no `Debug`, so `assert_eq!` cannot be used.
        let documents = documents.unwrap();
        assert!(documents[1] == (1, read));
        assert!(!population.holds(&HomeId("home-5".into())).unwrap());
        let other = Synthetic { homes: 5, seed: 8 };
        assert!((0..5).any(|home| other.person(home).age != population.person(home).age));
    }

    #[test]
    fn ages_and_heart_rates_fill_their_ranges_and_no_more() {
        let population = Synthetic {
            homes: 20_000,
            seed: 1,
        };
        let people: Vec<Person> = (0..20_000).map(|home| population.person(home)).collect();
        let ages = people.iter().map(|person| person.age);
        assert_eq!((ages.clone().min(), ages.max()), (Some(12), Some(99)));
        assert!(people.iter().all(|p| (40..=160).contains(&p.heart_rate)));
    }
}
