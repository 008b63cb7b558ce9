//! Tests of the rounds of a session, one after the other (protocol.md §18).

use crate::{
    conduct::{Command, Conduct, Event, Options, Phase, Record, StepError},
    session::{ParametersError, SessionKey, SignedParameters},
    testing::{Scene, Setting, addressee, aggregator, copy_of, failed, key_of, label},
};
use dispers_base::encoding::{from_bytes, to_bytes};
use dispers_circuit::Circuit;
use dispers_training::home::State;

fn session(updates: u16) -> Scene {
    Scene::new(Setting {
        batch_size: 12,
        updates,
        ..Setting::default()
    })
}

/// Returns the signed parameters of a round, in which each weight is `weight`.
fn parameters(scene: &mut Scene, round: u16, weight: f64) -> SignedParameters {
    let state = State {
        weights: vec![weight; 3],
        ..State::empty()
    };
    let query = scene.question.manifest.query();
    let key = SessionKey::new(&scene.question.salt, query);
    SignedParameters::seal(
        query,
        round,
        &state,
        &key,
        &key_of("querier"),
        &mut scene.rng,
    )
}

fn advance(
    scene: &Scene,
    conduct: &mut Conduct,
    parameters: &SignedParameters,
) -> Result<Vec<Command>, ParametersError> {
    let verified = parameters.verify(&scene.question.manifest, &scene.network.directory)?;
    conduct.advance(&verified, parameters.clone())
}

/// Begins a round and carries it out.
fn round(
    scene: &mut Scene,
    conduct: &mut Conduct,
    number: u16,
    intervene: impl FnMut(&mut Scene, &Command) -> Option<Event>,
) {
    let parameters = parameters(scene, number, f64::from(number));
    let commands = advance(scene, conduct, &parameters).unwrap();
    assert!(commands.iter().all(|command| label(command) == "ask"));
    scene.begin_round(number, parameters.digest());
    scene.follow(conduct, commands, intervene);
}

/// Returns the sums over all homes' vectors in the scene's current round.
fn sums(scene: &Scene) -> Vec<Option<u64>> {
    let circuit: &Circuit = scene.question.manifest.circuit_of(scene.round);
    let mut sums = vec![0; circuit.outputs().len()];
    for batch in 0..scene.batches() {
        for index in scene.rows(batch).keys() {
            let input = circuit
                .as_vector()
                .unwrap()
                .encode(scene.vector(*index).as_ref());
            circuit.add_outputs(&input, &mut sums);
        }
    }
    sums.into_iter().map(Some).collect()
}

fn exact(scene: &Scene, conduct: &Conduct, phase: Phase) {
    let status = conduct.status();
    assert_eq!((status.phase, status.failure), (phase, None));
    assert_eq!(status.round, scene.round);
    let released = scene.read(conduct.totals().unwrap()).unwrap();
    assert_eq!(released.round, scene.round);
    assert_eq!(released.outputs, sums(scene));
    assert_eq!((released.asked, released.accepted), (36, 36));
}

fn honest(_: &mut Scene, _: &Command) -> Option<Event> {
    None
}

#[test]
fn a_session_has_one_find_and_as_many_releases_as_rounds() {
    let mut scene = session(2);
    let (mut finds, mut begins) = (0, 0);
    let mut conduct = scene.drive(|_, command| {
        finds += usize::from(label(command) == "find");
        begins += usize::from(label(command) == "begin");
        None
    });
    assert_eq!((finds, begins), (1, 3));
    exact(&scene, &conduct, Phase::Between);
    round(&mut scene, &mut conduct, 1, honest);
    exact(&scene, &conduct, Phase::Between);
    round(&mut scene, &mut conduct, 2, honest);
    exact(&scene, &conduct, Phase::Done);
}

#[test]
fn a_round_is_begun_once_and_never_one_before_it() {
    let mut scene = session(4);
    let mut conduct = scene.drive(honest);
    let refused = Err(ParametersError::Round);
    let (first, other) = (
        parameters(&mut scene, 1, 1.0),
        parameters(&mut scene, 1, 2.0),
    );
    let zeroth = parameters(&mut scene, 0, 1.0);
    let refusal = |scene: &Scene, conduct: &mut Conduct, parameters: &SignedParameters| {
        advance(scene, conduct, parameters).map(|commands| commands.len())
    };
    assert_eq!(refusal(&scene, &mut conduct, &zeroth), refused);
    let commands = advance(&scene, &mut conduct, &first).unwrap();
    assert!(!commands.is_empty());
    // While the round is in progress, the same parameters change nothing, and no other round begins.
    assert_eq!(refusal(&scene, &mut conduct, &first), Ok(0));
    assert_eq!(refusal(&scene, &mut conduct, &other), refused);
    let second = parameters(&mut scene, 2, 1.0);
    assert_eq!(refusal(&scene, &mut conduct, &second), refused);
    scene.begin_round(1, first.digest());
    scene.follow(&mut conduct, commands, honest);
    exact(&scene, &conduct, Phase::Between);
    // The released round does not begin again with other parameters.
    assert_eq!(refusal(&scene, &mut conduct, &other), refused);
    assert_eq!(refusal(&scene, &mut conduct, &first), Ok(0));
    round(&mut scene, &mut conduct, 4, honest);
    exact(&scene, &conduct, Phase::Done);
    let fifth = parameters(&mut scene, 4, 9.0);
    assert_eq!(refusal(&scene, &mut conduct, &fifth), refused);
}

#[test]
fn parameters_that_the_session_s_querier_did_not_sign_for_it_begin_nothing() {
    let mut scene = session(2);
    let mut conduct = scene.drive(honest);
    let (manifest, state) = (scene.question.manifest.clone(), State::empty());
    let query = manifest.query();
    let key = SessionKey::new(&scene.question.salt, query);
    let other = Scene::new(Setting {
        updates: 3,
        ..Setting::default()
    });
    let other = other.question.manifest.query();
    assert_ne!(query, other);
    let mut sealed = |query, round, signer: &str| {
        SignedParameters::seal(query, round, &state, &key, &key_of(signer), &mut scene.rng)
    };
    let (stranger, elsewhere, beyond) = (
        sealed(query, 1, "conductor"),
        sealed(other, 1, "querier"),
        sealed(query, 3, "querier"),
    );
    for (parameters, refused) in [
        (stranger, ParametersError::Unsigned),
        (elsewhere, ParametersError::Unsigned),
        (beyond, ParametersError::Round),
    ] {
        assert_eq!(
            advance(&scene, &mut conduct, &parameters).err(),
            Some(refused)
        );
    }
    // A change of any byte is refused.
    let good = parameters(&mut scene, 1, 1.0);
    let bytes = to_bytes(&good);
    for at in (5..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let Ok(changed) = from_bytes::<SignedParameters>(&changed, 1 << 20, "parameters") else {
            continue;
        };
        assert!(advance(&scene, &mut conduct, &changed).is_err(), "{at}");
    }
    assert!(advance(&scene, &mut conduct, &good).is_ok());
}

#[test]
fn parameters_open_with_the_session_s_key_and_for_their_round_only() {
    let mut scene = session(2);
    let manifest = scene.question.manifest.clone();
    let key = SessionKey::new(&scene.question.salt, manifest.query());
    let parameters = parameters(&mut scene, 1, 4.0);
    let verified = parameters
        .verify(&manifest, &scene.network.directory)
        .unwrap();
    let opened: State = verified.open(&key).unwrap();
    assert_eq!(opened.weights, [4.0; 3]);
    let other = SessionKey::new(&[0; 32], manifest.query());
    assert_eq!(
        verified.open::<State>(&other).err(),
        Some(ParametersError::Sealed)
    );
    // The key is in the tickets of the chosen homes.
    let asks = scene.asks(scene.work(0, 0)).asks;
    for asked in asks.into_values().flat_map(|ask| {
        let find = ask.find;
        ask.homes.into_iter().map(move |home| (find, home))
    }) {
        let (find, home) = asked;
        let (query, batch) = (manifest.query(), scene.work(0, 0).batch);
        let of = &scene.home(&home.home.0).key;
        let opened = home
            .ticket
            .open(of, query, &find, batch, home.index)
            .unwrap();
        assert!(opened.session.as_ref() == Some(&key));
    }
}

#[test]
fn an_aggregator_that_was_away_in_a_round_is_back_in_the_next_and_a_liar_is_not() {
    let mut scene = session(3);
    let mut conduct = scene.drive(honest);
    let away = |command: &Command| {
        let third = addressee(command) == Some(aggregator(3));
        (third && label(command) == "verify").then(|| failed(command, StepError::Unreachable))
    };
    round(&mut scene, &mut conduct, 1, |_, command| away(command));
    exact(&scene, &conduct, Phase::Between);
    assert_eq!(conduct.status().missing, [aggregator(3)]);
    round(&mut scene, &mut conduct, 2, honest);
    exact(&scene, &conduct, Phase::Between);
    assert_eq!(
        (conduct.status().missing, conduct.status().verified),
        (vec![], 3)
    );

    let suspected = |command: &Command| match command {
        Command::Decide {
            aggregator: of,
            work,
            quorum,
            ..
        } if quorum.members().len() == 3 && of.member.point() < 3 => {
            let suspect = Some(aggregator(3).member);
            let error = StepError::Inconsistent { suspect };
            Some(Event::Decided(*of, *work, Err(error)))
        }
        _ => None,
    };
    round(&mut scene, &mut conduct, 3, |_, command| suspected(command));
    assert_eq!(conduct.status().missing, [aggregator(3)]);
    exact(&scene, &conduct, Phase::Done);
}

/// Resumes the query from its encoded record.
fn taken_up(scene: &Scene, conduct: &Conduct) -> (Conduct, Vec<Command>) {
    let record: Record = copy_of(&conduct.record());
    let options = Options::default();
    Conduct::resume(scene.question.manifest.clone(), options, record)
}

#[test]
fn a_conductor_that_dies_between_or_within_rounds_goes_on_from_the_last() {
    let mut scene = session(2);
    let conduct = scene.drive(honest);
    let (mut conduct, commands) = taken_up(&scene, &conduct);
    assert!(commands.is_empty());
    exact(&scene, &conduct, Phase::Between);

    // The conductor dies after it has asked the first batch of the round.
    let shown = parameters(&mut scene, 1, 1.0);
    advance(&scene, &mut conduct, &shown).unwrap();
    scene.begin_round(1, shown.digest());
    let (mut conduct, commands) = taken_up(&scene, &conduct);
    assert_eq!(
        advance(&scene, &mut conduct, &shown).map(|more| more.len()),
        Ok(0)
    );
    let other = parameters(&mut scene, 1, 2.0);
    let refused = Err(ParametersError::Round);
    assert_eq!(
        advance(&scene, &mut conduct, &other).map(|more| more.len()),
        refused
    );
    let asked: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Ask { parameters, .. } => Some(parameters.as_deref() == Some(&shown)),
            _ => None,
        })
        .collect();
    assert!(!asked.is_empty() && asked.iter().all(|same| *same));
    scene.follow(&mut conduct, commands, honest);
    exact(&scene, &conduct, Phase::Between);
    round(&mut scene, &mut conduct, 2, honest);
    exact(&scene, &conduct, Phase::Done);
}

#[test]
fn a_round_that_too_few_answer_fails_the_session() {
    let mut scene = session(2);
    let mut conduct = scene.drive(honest);
    round(&mut scene, &mut conduct, 1, |_, command| {
        (label(command) == "ask").then(|| failed(command, StepError::Unreachable))
    });
    assert_eq!(conduct.status().phase, Phase::Failed);
    let next = parameters(&mut scene, 2, 1.0);
    let refused = advance(&scene, &mut conduct, &next).err();
    assert_eq!(refused, Some(ParametersError::Round));
}

#[test]
fn a_target_that_names_other_parameters_costs_an_attempt_and_no_aggregator() {
    let mut scene = session(2);
    let mut conduct = scene.drive(honest);
    let mut lies = 1;
    round(&mut scene, &mut conduct, 1, |scene, command| {
        let Command::Ask { work, .. } = command else {
            return None;
        };
        if lies == 0 {
            return None;
        }
        lies -= 1;
        let shown = std::mem::replace(&mut scene.shown, [9; 32]);
        let answer = scene.honest(*work);
        scene.shown = shown;
        Some(Event::Asked(*work, Ok(answer)))
    });
    assert_eq!(lies, 0);
    exact(&scene, &conduct, Phase::Between);
    assert_eq!(conduct.status().missing, []);
}
