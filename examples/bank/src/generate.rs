//! Generator of homes with habits of their own: bank, shops, employer, days.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{Operation, sanitise};

/// Way in which an operation reaches the account.
#[derive(Clone, Copy, PartialEq)]
enum Means {
    Card,
    Debit,
    Transfer,
    Withdrawal,
}

/// A purpose that homes spend on, and how often they do.
struct Habit {
    category: usize,
    means: Means,
    /// Operations per month.
    monthly: f64,
    /// Smallest and largest amount in euros, negative for payments.
    amounts: (f64, f64),
    /// Names that exist all over the country.
    national: &'static [&'static str],
    /// First words of local names.
    local: &'static [&'static str],
}

const HABITS: [Habit; 15] = [
    Habit {
        category: 0,
        means: Means::Card,
        monthly: 6.0,
        amounts: (-140.0, -4.0),
        national: &[
            "CARREFOUR CITY",
            "CARREFOUR MARKET",
            "E.LECLERC",
            "INTERMARCHE",
            "LIDL",
            "MONOPRIX",
            "AUCHAN SUPERMARCHE",
            "FRANPRIX",
            "CASINO SHOP",
            "SUPER U",
            "BIOCOOP",
            "PICARD SURGELES",
            "ALDI",
            "NATURALIA",
            "CORA",
            "GRAND FRAIS",
            "NETTO",
            "SPAR",
            "G20",
            "COCCIMARKET",
        ],
        local: &[
            "BOULANGERIE",
            "BOUCHERIE",
            "PRIMEUR",
            "EPICERIE",
            "FROMAGERIE",
            "POISSONNERIE",
        ],
    },
    Habit {
        category: 1,
        means: Means::Card,
        monthly: 3.0,
        amounts: (-65.0, -6.0),
        national: &[
            "MC DONALD S",
            "BURGER KING",
            "KFC",
            "FLUNCH",
            "BUFFALO GRILL",
            "HIPPOPOTAMUS",
            "PAUL",
            "STARBUCKS",
            "UBER EATS",
            "DELIVEROO",
            "COURTEPAILLE",
            "LA CROISSANTERIE",
            "PRET A MANGER",
            "EXKI",
            "SUSHI SHOP",
            "DOMINO S PIZZA",
            "O TACOS",
            "SODEXO CANTINE",
        ],
        local: &[
            "BRASSERIE",
            "CREPERIE",
            "PIZZERIA",
            "CAFE",
            "RESTAURANT",
            "AUBERGE",
            "BISTROT",
        ],
    },
    Habit {
        category: 2,
        means: Means::Card,
        monthly: 1.6,
        amounts: (-95.0, -25.0),
        national: &[
            "TOTAL ACCESS",
            "ESSO EXPRESS",
            "BP RELAIS",
            "SHELL",
            "AVIA",
            "CARREFOUR STATION",
            "E.LECLERC CARBURANT",
            "INTERMARCHE STATION",
            "SUPER U ESSENCE",
            "AUCHAN CARBURANT",
        ],
        local: &["STATION", "GARAGE STATION"],
    },
    Habit {
        category: 3,
        means: Means::Card,
        monthly: 1.8,
        amounts: (-90.0, -2.0),
        national: &[
            "SNCF INTERNET",
            "SNCF VOYAGEURS",
            "RATP",
            "NAVIGO",
            "TCL LYON",
            "UBER TRIP",
            "BLABLACAR",
            "FLIXBUS",
            "AIR FRANCE",
            "EASYJET",
            "TRANSAVIA",
            "VINCI AUTOROUTES",
            "APRR AUTOROUTE",
            "SANEF",
            "INDIGO PARK",
            "EFFIA",
            "VELIB METROPOLE",
            "OUIGO",
        ],
        local: &["TAXI", "PARKING", "TRANSPORTS"],
    },
    Habit {
        category: 4,
        means: Means::Debit,
        monthly: 1.0,
        amounts: (-1400.0, -350.0),
        national: &[
            "FONCIA LOYER",
            "NEXITY",
            "CITYA IMMOBILIER",
            "ORPI GESTION",
            "OPH HABITAT",
            "IMMOBILIERE 3F",
            "CDC HABITAT",
            "CREDIT LOGEMENT ECHEANCE",
            "ECHEANCE PRET IMMOBILIER",
            "SYNDIC COPROPRIETE",
            "LAMY GESTION",
        ],
        local: &["LOYER", "AGENCE", "SCI"],
    },
    Habit {
        category: 5,
        means: Means::Debit,
        monthly: 1.5,
        amounts: (-190.0, -25.0),
        national: &[
            "EDF CLIENTS PARTICULIERS",
            "ENGIE",
            "TOTALENERGIES ELECTRICITE",
            "ENI GAS",
            "EKWATEUR",
            "VEOLIA EAU",
            "SUEZ EAU",
            "SAUR",
            "ENERCOOP",
            "VATTENFALL",
            "OHM ENERGIE",
        ],
        local: &["REGIE EAU", "SYNDICAT EAUX", "CHAUFFAGE"],
    },
    Habit {
        category: 6,
        means: Means::Debit,
        monthly: 2.0,
        amounts: (-60.0, -6.0),
        national: &[
            "ORANGE SA",
            "SFR FIXE ADSL",
            "BOUYGUES TELECOM",
            "FREE TELECOM",
            "FREE MOBILE",
            "SOSH",
            "RED BY SFR",
            "LA POSTE MOBILE",
            "PRIXTEL",
            "CORIOLIS",
            "NRJ MOBILE",
        ],
        local: &["FIBRE"],
    },
    Habit {
        category: 7,
        means: Means::Debit,
        monthly: 1.8,
        amounts: (-120.0, -9.0),
        national: &[
            "MAIF",
            "MACIF",
            "MATMUT",
            "AXA FRANCE",
            "GROUPAMA",
            "GMF ASSURANCES",
            "ALLIANZ",
            "MAAF",
            "MMA IARD",
            "DIRECT ASSURANCE",
            "PACIFICA",
            "HARMONIE MUTUELLE",
            "MGEN",
            "SWISSLIFE",
        ],
        local: &["ASSURANCES", "MUTUELLE"],
    },
    Habit {
        category: 8,
        means: Means::Card,
        monthly: 1.6,
        amounts: (-80.0, -6.0),
        national: &[
            "DOCTOLIB",
            "BIOGROUP LABORATOIRE",
            "CERBALLIANCE",
            "OPTIC 2000",
            "KRYS",
            "AFFLELOU",
            "AUDIKA",
            "CLINIQUE PASTEUR",
            "HOPITAL SAINT JOSEPH",
        ],
        local: &[
            "PHARMACIE",
            "DR",
            "CABINET MEDICAL",
            "DENTISTE",
            "KINE",
            "LABORATOIRE",
        ],
    },
    Habit {
        category: 9,
        means: Means::Card,
        monthly: 2.6,
        amounts: (-70.0, -4.0),
        national: &[
            "NETFLIX",
            "SPOTIFY",
            "DEEZER",
            "CANAL PLUS",
            "FNAC",
            "CULTURA",
            "UGC CINE",
            "PATHE",
            "GAUMONT",
            "STEAM GAMES",
            "DECATHLON",
            "BASIC FIT",
            "FITNESS PARK",
            "AMAZON PRIME VIDEO",
            "DISNEY PLUS",
            "PLAYSTATION NETWORK",
            "PAYPAL SPOTIFY",
            "MICROMANIA",
        ],
        local: &[
            "CINEMA",
            "LIBRAIRIE",
            "PISCINE",
            "THEATRE",
            "CLUB",
            "MEDIATHEQUE",
        ],
    },
    Habit {
        category: 10,
        means: Means::Card,
        monthly: 1.6,
        amounts: (-120.0, -8.0),
        national: &[
            "ZARA",
            "H ET M",
            "KIABI",
            "JULES",
            "CELIO",
            "PROMOD",
            "ETAM",
            "UNIQLO",
            "PRIMARK",
            "LA HALLE",
            "CHAUSSEA",
            "ERAM",
            "ZALANDO",
            "VINTED",
            "PAYPAL ZALANDO",
            "CAMAIEU",
            "DECATHLON",
            "MONOPRIX MODE",
            "GALERIES LAFAYETTE",
        ],
        local: &["CHAUSSURES", "BOUTIQUE", "RETOUCHES", "PRESSING"],
    },
    Habit {
        category: 11,
        means: Means::Debit,
        monthly: 0.6,
        amounts: (-650.0, -30.0),
        national: &[
            "DIRECTION GENERALE FINANCES PUBLIQUES",
            "IMPOT REVENU",
            "DGFIP TAXE FONCIERE",
            "TRESOR PUBLIC",
            "AMENDES GOUV",
            "URSSAF",
        ],
        local: &["TRESORERIE", "CENTRE FINANCES PUBLIQUES"],
    },
    Habit {
        category: 12,
        means: Means::Withdrawal,
        monthly: 1.6,
        amounts: (-120.0, -20.0),
        national: &[
            "DAB",
            "DISTRIBUTEUR",
            "GAB LA POSTE",
            "DAB CREDIT AGRICOLE",
            "DAB BNP",
        ],
        local: &["DAB", "GAB"],
    },
    Habit {
        category: 13,
        means: Means::Transfer,
        monthly: 1.3,
        amounts: (900.0, 3200.0),
        national: &[
            "SALAIRE",
            "PAIE",
            "POLE EMPLOI",
            "CNAV RETRAITE",
            "AGIRC ARRCO",
            "TRAITEMENT DRFIP",
            "CPAM REMBOURSEMENT",
            "CAF ALLOCATIONS",
        ],
        local: &["SALAIRE", "SARL", "SAS", "ASSOCIATION", "MAIRIE"],
    },
    // A private landlord is paid by transfer. Only the amount shows the purpose of the operation.
    Habit {
        category: 4,
        means: Means::Transfer,
        monthly: 0.4,
        amounts: (-900.0, -300.0),
        national: &["LOYER", "VIREMENT PERMANENT LOYER"],
        local: &["M", "MME"],
    },
];

const TOWNS: [&str; 24] = [
    "PARIS",
    "LYON",
    "MARSEILLE",
    "TOULOUSE",
    "NANTES",
    "LILLE",
    "RENNES",
    "BORDEAUX",
    "STRASBOURG",
    "GRENOBLE",
    "DIJON",
    "TOURS",
    "BREST",
    "ANGERS",
    "CAEN",
    "METZ",
    "NANCY",
    "LIMOGES",
    "POITIERS",
    "VANNES",
    "QUIMPER",
    "AVIGNON",
    "PAU",
    "ANNECY",
];

const SURNAMES: [&str; 30] = [
    "MARTIN", "BERNARD", "THOMAS", "PETIT", "ROBERT", "RICHARD", "DURAND", "DUBOIS", "MOREAU",
    "LAURENT", "SIMON", "MICHEL", "LEFEBVRE", "LEROY", "ROUX", "DAVID", "BERTRAND", "MOREL",
    "FOURNIER", "GIRARD", "BONNET", "DUPONT", "LAMBERT", "FONTAINE", "ROUSSEAU", "VINCENT",
    "MULLER", "LEFEVRE", "FAURE", "ANDRE",
];

const PLACES: [&str; 12] = [
    "DE LA GARE",
    "DU CENTRE",
    "DE LA PLACE",
    "DU MARCHE",
    "SAINT MICHEL",
    "DES HALLES",
    "DU PORT",
    "DE L EGLISE",
    "DU PARC",
    "DE LA MAIRIE",
    "VICTOR HUGO",
    "DU PONT",
];

/// A home: its bank, town and shops.
struct Home {
    number: usize,
    bank: usize,
    town: &'static str,
    /// For each habit, a factor on how often the home has it.
    often: Vec<f64>,
    /// For each habit, the names that the home returns to.
    usual: Vec<Vec<String>>,
}

fn one<'a>(of: &'a [&'static str], rng: &mut StdRng) -> &'a str {
    of.choose(rng).copied().unwrap_or_default()
}

fn name(habit: &Habit, rng: &mut StdRng) -> String {
    if rng.random_bool(0.6) {
        return one(habit.national, rng).to_owned();
    }
    let of = if rng.random_bool(0.5) {
        &SURNAMES[..]
    } else {
        &PLACES[..]
    };
    format!("{} {}", one(habit.local, rng), one(of, rng))
}

impl Home {
    fn draw(number: usize, rng: &mut StdRng) -> Self {
        let usual = HABITS.iter().map(|habit| {
            // Card payments go to several shops, but a contract has one partner.
            let count = if habit.means == Means::Card {
                rng.random_range(1..=4)
            } else {
                1
            };
            (0..count).map(|_| name(habit, rng)).collect()
        });
        let usual: Vec<Vec<String>> = usual.collect();
        Self {
            number,
            bank: rng.random_range(0..5),
            town: one(&TOWNS, rng),
            often: HABITS.iter().map(|_| rng.random_range(0.2..1.8)).collect(),
            usual,
        }
    }

    /// Returns the label of an operation as this home's bank writes it.
    fn written(&self, means: Means, name: &str, day: u32, month: u32, rng: &mut StdRng) -> String {
        let town = self.town;
        let reference: u32 = rng.random_range(100_000..999_999);
        match (means, self.bank) {
            (Means::Card, 0) => format!("CARTE {day:02}/{month:02} {name} {town}"),
            (Means::Card, 1) => format!("PAIEMENT CB {name} {town} {day:02}.{month:02}.25"),
            (Means::Card, 2) => {
                format!("FACTURE CARTE DU {day:02}/{month:02}/25 {name} CARTE {reference}")
            }
            (Means::Card, 3) => format!("ACHAT CB {name} {day:02}.{month:02}.25"),
            (Means::Card, _) => format!("{name} {town} CB {reference}"),
            (Means::Debit, 0 | 1) => format!("PRLV SEPA {name} {reference}"),
            (Means::Debit, 2) => format!("PRELEVEMENT {name} REF {reference}"),
            (Means::Debit, _) => format!("PRELEVEMENT EUROPEEN {reference} DE {name}"),
            (Means::Transfer, 0 | 2) => format!("VIR SEPA {name} {reference}"),
            (Means::Transfer, 1) => format!("VIREMENT {name}"),
            (Means::Transfer, _) => format!("VIR INST {name} {day:02}/{month:02}"),
            (Means::Withdrawal, 0 | 3) => format!("RETRAIT {name} {town} {day:02}/{month:02}"),
            (Means::Withdrawal, _) => {
                format!("CARTE {reference} RETRAIT {name} {day:02}.{month:02}.25")
            }
        }
    }

    fn month(&self, month: u32, rng: &mut StdRng) -> Vec<Operation> {
        let mut operations = Vec::new();
        for ((habit, often), usual) in HABITS.iter().zip(&self.often).zip(&self.usual) {
            let expected: f64 = habit.monthly * often;
            // The fraction is drawn, so that the mean over homes is exact.
            let count = expected as usize + usize::from(rng.random_bool(expected.fract()));
            for _ in 0..count {
                let known = rng.random_bool(0.65);
                let name = match usual.choose(rng).filter(|_| known) {
                    Some(name) => name.clone(),
                    None => name(habit, rng),
                };
                // Every month has 28 days.
                let day = rng.random_range(1..=28);
                let original = self.written(habit.means, &name, day, month, rng);
                let (least, most) = habit.amounts;
                let amount: f64 = rng.random_range(least..most);
                operations.push(Operation {
                    home: self.number,
                    date: format!("2025-{month:02}-{day:02}"),
                    label: sanitise(&original),
                    original,
                    // Amounts have cents.
                    amount: (amount * 100.0).round() / 100.0,
                    category: habit.category,
                });
            }
        }
        operations
    }
}

/// Draws the operations of `homes` homes. Returns the operations of three months that each home has sorted,
/// which are only some of them, and all operations of the month after.
pub fn operations(homes: usize, seed: u64) -> (Vec<Operation>, Vec<Operation>) {
    // Everything is drawn from this generator, so that a seed gives the same operations again.
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut held, mut new) = (Vec::new(), Vec::new());
    for number in 0..homes {
        let home = Home::draw(number, &mut rng);
        for month in 1..=3 {
            // Owners sort only part of their operations by hand.
            let sorted = home.month(month, &mut rng).into_iter();
            held.extend(sorted.filter(|_| rng.random_bool(0.4)));
        }
        // Unsorted operations are all new: they measure how well a model predicts the next month.
        new.extend(home.month(4, &mut rng));
    }
    (held, new)
}
