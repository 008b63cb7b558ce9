//! Plans of valid queries.

mod refusals;

use super::*;
use crate::decode::{Table, Value};
use dispers_base::encoding::{from_bytes, to_bytes};
use dispers_circuit::{Moment, Variable};
use dispers_query::{
    catalogue::{EVERY_HOME, FieldKind},
    local::{InvalidQuery, MAX_NODES, Measure},
};
use dispers_testing::catalogue::catalogue;

fn plan(sql: &str) -> Result<Plan, SqlError> {
    let plan = Plan::new(sql, &catalogue(), &PlanLimits::default())?;
    let bytes = to_bytes(&plan.local);
    let decoded: LocalQuery = from_bytes(&bytes, 1 << 20, "query").unwrap();
    assert_eq!(decoded, plan.local);
    assert_eq!(decoded.validate(&catalogue()), Ok(()));
    Ok(plan)
}

/// Returns a variable, and whether its square is summed.
fn variable(max: u64, nullable: bool, squared: bool) -> (Variable, bool) {
    let one_hot = false;
    let variable = Variable {
        max,
        nullable,
        one_hot,
    };
    (variable, squared)
}

/// Returns the variables of a plan, and for each whether its square is summed.
fn variables(plan: &Plan) -> Vec<(Variable, bool)> {
    let squared = |number: u16| {
        let square = |moment: &Moment| match moment {
            Moment::Product { factors, .. } => *factors == [number, number],
            Moment::Levels { .. } => false,
        };
        plan.shape.moments.iter().any(square)
    };
    let numbered = (0u16..).zip(&plan.shape.variables);
    numbered
        .map(|(number, variable)| (variable.clone(), squared(number)))
        .collect()
}

fn decode(
    decoder: &Decoder,
    outputs: &[Option<i128>],
) -> Result<Table, crate::decode::WrongOutputs> {
    decoder.decode(outputs, 5)
}

const BANDS: &str = "CASE WHEN age < 40 THEN '25-39' WHEN age < 55 THEN '40-54' ELSE '55+' END";

#[test]
fn the_example_has_one_nullable_variable() {
    let plan = plan(&format!(
        "SELECT {BANDS} AS band, COUNT(*) AS homes, COUNT(sbp) AS measured,
                AVG(clamp(sbp, 80, 230, 1)) AS mean_sbp
         FROM nhefs WHERE concept('sex>female') AND NOT concept('asthma>1')
                      AND cigarettes >= 10 GROUP BY band"
    ))
    .unwrap();
    assert_eq!(plan.shape.groups, 3);
    assert_eq!(variables(&plan), [variable(150, true, false)]);
    assert_eq!(
        plan.local.fields().collect::<Vec<_>>(),
        ["cigarettes", "age", "sbp"]
    );
    assert_eq!(
        plan.profile.to_string(),
        "(concept('sex>female') AND NOT concept('asthma>1'))"
    );
    assert_eq!(
        plan.local.to_string(),
        "reads of nhefs: cigarettes, age, sbp\n\
         keeps homes where (cigarettes >= 10)\n\
         groups by CASE WHEN (age < 40) THEN '25-39' WHEN (age < 55) THEN '40-54' \
         ELSE '55+' END into '25-39', '40-54', '55+'\n\
         measures sbp within 80 and 230, in steps of 1\n\
         adds up over homes: who has sbp; sbp\n"
    );
}

#[test]
fn an_inner_select_makes_one_row_of_several_documents() {
    let sql = "SELECT AVG(clamp(hr, 30, 220)) FROM
               (SELECT AVG(bpm) AS hr FROM heartrate WHERE day >= '2026-10-01') AS home";
    let plan = plan(sql).unwrap();
    assert_eq!(plan.shape.groups, 0);
    assert_eq!(variables(&plan), [variable(4095, false, false)]);
    assert_eq!(
        plan.local.to_string(),
        "reads of heartrate: day, bpm\n\
         keeps documents where (day >= '2026-10-01')\n\
         takes over a home's documents: AVG(bpm)\n\
         measures AVG(bpm) within 30 and 220, at 4096 levels, rounded at random\n\
         adds up over homes: AVG(bpm)\n"
    );
    assert_eq!(plan.profile, Profile::atom(EVERY_HOME.into()));
}

#[test]
fn names_are_what_postgresql_and_people_take_them_for() {
    for sql in [
        "select count(*) from NHEFS where AGE > 3",
        "SELECT COUNT(*) FROM nhefs AS n WHERE n.age > 3 AND nhefs.sex = 'male'",
        "SELECT COUNT(*) FROM nhefs WHERE order > 1 AND interval = 2 AND meta.end < 3",
        "SELECT COUNT(*) FROM nhefs WHERE \"Order\">-1 AND nhefs.meta.end IN (1, 2)",
        "SELECT COUNT(*) FROM nhefs WHERE current_date > '2020'",
        "SELECT COUNT(*) FROM (SELECT SUM(amount) AS s FROM io.cozy.bank.operations) AS h",
        "SELECT COUNT(*) FROM (SELECT SUM(io.cozy.bank.operations.amount) AS s
         FROM io.cozy.bank.operations) h WHERE h.s > 0 AND S < 9",
        "SELECT COUNT(*) FROM (SELECT MAX(bpm) - MIN(bpm) AS spread FROM heartrate) AS h
         WHERE spread > 10",
        "SELECT COUNT(*) FROM nhefs WHERE age > '40' AND (sbp > 3) IS NOT TRUE;",
    ] {
        if let Err(error) = plan(sql) {
            panic!("{sql}: {error}");
        }
    }
}

#[test]
fn null_has_a_place_only_where_it_is_possible() {
    let variables = |items: &str| {
        let plan = plan(&format!("SELECT {items} FROM nhefs")).unwrap();
        super::tests::variables(&plan)
    };
    assert_eq!(variables("COUNT(age), COUNT(1)"), []);
    assert_eq!(
        variables("COUNT(sbp), COUNT(sbp)"),
        [variable(0, true, false)]
    );
    assert_eq!(
        variables("COUNT(clamp(sbp, 0, 300)), SUM(clamp(sbp, 0, 300, 1))"),
        [variable(300, true, false)]
    );
    assert_eq!(
        variables("AVG(clamp(age / 2, 0, 50, 1)), STDDEV(clamp(age / 2, 0, 50, 1))"),
        [variable(50, false, true)]
    );
    assert_eq!(
        variables("AVG(clamp(age / order, 0, 50, 1))"),
        [variable(50, true, false)]
    );
    assert_eq!(
        variables("AVG(clamp(COALESCE(sbp, 100), 0, 300, 1))"),
        [variable(300, false, false)]
    );
    let known = plan("SELECT AVG(clamp(sbp, 0, 300, 1)) FROM nhefs WHERE sbp IS NOT NULL");
    assert_eq!(
        self::variables(&known.unwrap()),
        [variable(300, false, false)]
    );
}

#[test]
fn groups_come_from_the_query_text() {
    let groups = |keys: &str| {
        let sql = format!("SELECT COUNT(*) FROM nhefs GROUP BY {keys}");
        let plan = plan(&sql).unwrap();
        plan.local
            .keys
            .iter()
            .map(|key| key.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(groups(BANDS), [3]);
    assert_eq!(groups("age < 40"), [2]);
    assert_eq!(groups("sbp < 140"), [3]);
    assert_eq!(groups("COALESCE(sbp < 140, FALSE)"), [2]);
    assert_eq!(
        groups("domain(sex, 'male', 'female'), age IN (1, 2)"),
        [3, 2]
    );
    assert_eq!(groups("CASE WHEN age < 40 THEN 1 END"), [2]);
    assert_eq!(groups("age < 40, age < 40"), [2]);
    let named = "SELECT age < 40 AS young, COUNT(*) FROM nhefs GROUP BY ";
    for key in ["1", "young", "(age < 40)", "AGE<40"] {
        assert!(plan(&format!("{named}{key}")).is_ok());
    }
}

#[test]
fn not_alone_is_relative_to_every_home() {
    let profile = |condition: &str| {
        let plan = plan(&format!("SELECT COUNT(*) FROM nhefs WHERE {condition}")).unwrap();
        plan.profile.to_string()
    };
    assert_eq!(
        profile("NOT concept('asthma>1')"),
        "(concept('home>all') AND NOT concept('asthma>1'))"
    );
    assert_eq!(
        profile("(age > 3 AND (concept('sex>male') OR concept('asthma>1')))"),
        "(concept('sex>male') OR concept('asthma>1'))"
    );
    assert_eq!(profile("age > 3"), "concept('home>all')");
}

#[test]
fn what_overflows_over_many_homes_may_fit_over_few() {
    let sql = "SELECT VARIANCE(clamp(age, 0, 1000000, 1)) FROM nhefs";
    let with = |max_homes| {
        let limits = PlanLimits {
            max_homes,
            ..PlanLimits::default()
        };
        Plan::new(sql, &catalogue(), &limits)
    };
    assert!(with(18_000_000).is_ok());
    assert!(with(19_000_000).is_err());
}

#[test]
fn too_many_groups_are_refused_with_their_number() {
    let digits = "domain(order, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)";
    let keys = format!("{digits}, {digits}, domain(age, 1, 2)").replacen("order", "interval", 1);
    let error = plan(&format!("SELECT COUNT(*) FROM nhefs GROUP BY {keys}")).unwrap_err();
    assert!(error.what.contains("11 × 11 × 3 = 363 groups"), "{error}");
}

#[test]
fn deep_and_long_queries_are_refused_without_harm() {
    let query = |condition: String| plan(&format!("SELECT COUNT(*) FROM nhefs WHERE {condition}"));
    for condition in [
        format!("{}age > 1{}", "(".repeat(3000), ")".repeat(3000)),
        "NOT ".repeat(2000) + "age > 1",
        "age + ".repeat(1900) + "1 > 2",
        "age + ".repeat(90_000) + "1 > 2",
        "age = 1 OR ".repeat(900) + "age = 2",
        "CASE WHEN ".repeat(500),
        "concept('sex>male') OR ".repeat(300) + "concept('sex>male')",
    ] {
        assert!(query(condition).is_err());
    }
    assert!(query("age = 1 OR ".repeat(300) + "age = 2").is_ok());
}

#[test]
fn forged_queries_do_not_validate() {
    let honest = plan("SELECT SUM(clamp(age, 0, 9, 1)) FROM nhefs GROUP BY age < 3").unwrap();
    type Forge = fn(&mut LocalQuery);
    let forges: &[(Forge, InvalidQuery)] = &[
        (|q| q.doctype = "NHEFS".into(), InvalidQuery::Unknown),
        (|q| q.doctype = "heartrate".into(), InvalidQuery::Unknown),
        (
            |q| q.fields.push(q.fields[0].clone()),
            InvalidQuery::Unknown,
        ),
        (
            |q| q.fields[0].kind = FieldKind::Text,
            InvalidQuery::Unknown,
        ),
        (
            |q| {
                q.doctype = "heartrate".into();
                q.fields[0].name = "bpm".into();
            },
            InvalidQuery::SeveralDocuments,
        ),
        (
            |q| q.keys[0].categories.truncate(0),
            InvalidQuery::Categories,
        ),
        (|q| q.keys = vec![q.keys[0].clone(); 9], InvalidQuery::Bound),
        (
            |q| q.measures = vec![q.measures[0].clone(); 65],
            InvalidQuery::Bound,
        ),
        (|q| q.measures[0].quantiser = None, InvalidQuery::Measure),
    ];
    for (number, (forge, error)) in forges.iter().enumerate() {
        let mut local = honest.local.clone();
        forge(&mut local);
        assert_eq!(local.validate(&catalogue()), Err(*error), "{number}");
    }
    let mut ill_typed = honest.local.clone();
    ill_typed.filter = Some(ill_typed.measures[0].expr.clone());
    assert!(matches!(
        ill_typed.validate(&catalogue()),
        Err(InvalidQuery::Type(_))
    ));
    let condition = format!("{}age = 2", "age = 1 OR ".repeat(300));
    let long = plan(&format!("SELECT COUNT(*) FROM nhefs WHERE {condition}"));
    let mut large = long.unwrap().local;
    let measure = Measure {
        expr: large.filter.clone().unwrap(),
        quantiser: None,
        nullable: true,
        one_hot: false,
    };
    large.measures = vec![measure; MAX_NODES / 900];
    assert_eq!(large.validate(&catalogue()), Err(InvalidQuery::Bound));
}

#[test]
fn released_sums_become_rows_and_suppressed_groups() {
    let sql = format!(
        "SELECT SUM(clamp(sbp, 80, 230, 1)) AS s, {BANDS} AS band, COUNT(*) AS homes,
                COUNT(sbp), VAR_POP(clamp(sbp, 80, 230, 1)) AS v
         FROM nhefs GROUP BY sex = 'male', band"
    );
    let plan = plan(&sql).unwrap();
    assert_eq!(plan.shape.groups, 6);
    let mut outputs = vec![None; 24];
    outputs[4..8].copy_from_slice(&[Some(12), Some(10), Some(400), Some(16_010)]);
    outputs[20] = Some(7);
    let table = decode(&plan.decoder, &outputs).unwrap();
    assert_eq!(table.columns, ["s", "band", "homes", "COUNT(sbp)", "v"]);
    assert_eq!(table.group_columns, ["sex = 'male'", "band"]);
    let (int, text) = (Value::Integer, |t: &str| Value::Text(t.into()));
    assert_eq!(
        table.rows,
        [
            vec![int(1200), text("40-54"), int(12), int(10), Value::Real(1.0)],
            vec![Value::Null, text("55+"), int(7), Value::Null, Value::Null],
        ]
    );
    let withheld = ["s", "COUNT(sbp)", "v"].map(|c| (1, c.to_owned()));
    assert_eq!(table.withheld, withheld);
    assert_eq!(table.suppressed_groups.len(), 4);
    assert_eq!(
        table.suppressed_groups[0],
        [Value::Boolean(false), text("25-39")]
    );
    assert_eq!(
        table.suppressed_groups[3],
        [Value::Boolean(true), text("40-54")]
    );
    assert!(decode(&plan.decoder, &outputs[1..]).is_err());
}

#[test]
fn without_group_by_one_row_is_released_or_suppressed() {
    let sql = "SELECT COUNT(*), AVG(clamp(sbp, 80, 230)), STDDEV(clamp(sbp, 80, 230)) FROM nhefs";
    let decoder = plan(sql).unwrap().decoder;
    let none = decode(&decoder, &[None; 4]).unwrap();
    assert_eq!(none.rows, Vec::<Vec<Value>>::new());
    assert_eq!(none.suppressed_groups, [Vec::<Value>::new()]);
    let table = decode(&decoder, &[Some(9), Some(0), Some(0), Some(0)]).unwrap();
    let expected = Table {
        columns: table.columns.clone(),
        kinds: table.kinds.clone(),
        rows: vec![vec![Value::Integer(9), Value::Null, Value::Null]],
        ..Table::default()
    };
    assert_eq!(table, expected);
}
