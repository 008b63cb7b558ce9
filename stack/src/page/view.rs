//! Pages as HTML. All text that is shown is escaped.

use dispers_query::catalogue::Catalogue;
use maud::{DOCTYPE, Markup, html};

use super::{describe::describe, language::Language, session::Owner};
use crate::{Asked, Effect, Entry, Otherwise, Outcome, Rule, Rules};

/// Part of the page that is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Questions,
    Rules,
    History,
    Subscriptions,
    None,
}

fn layout(
    language: Language,
    owner: Option<&Owner>,
    part: Part,
    heading: &str,
    content: Markup,
) -> Markup {
    let text = language.text();
    let places = ["/", "/rules", "/history", "/subscriptions"];
    let parts = [
        Part::Questions,
        Part::Rules,
        Part::History,
        Part::Subscriptions,
    ];
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (heading) " – " (text.title) }
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#content" { (text.skip) }
                header {
                    p { strong { (text.title) } br; span.hint { (text.subtitle) } }
                    p {
                        a href={ "/?language=" (text.other_language.0) } lang=(text.other_language.0) {
                            (text.other_language.1)
                        }
                    }
                }
                @if let Some(owner) = owner {
                    nav aria-label=(text.title) {
                        ul {
                            @for ((name, place), of) in text.nav.iter().zip(places).zip(parts) {
                                li {
                                    @if of == part {
                                        a href=(place) aria-current="page" { (name) }
                                    } @else {
                                        a href=(place) { (name) }
                                    }
                                }
                            }
                        }
                    }
                    main #content {
                        h1 { (heading) }
                        (content)
                    }
                    footer {
                        (button(owner, "/leave", text.leave, true, html! {}))
                    }
                } @else {
                    main #content {
                        h1 { (heading) }
                        (content)
                    }
                }
            }
        }
    }
}

/// Returns a form with one button.
fn button(owner: &Owner, action: &str, name: &str, no: bool, more: Markup) -> Markup {
    html! {
        form method="post" action=(action) {
            input type="hidden" name="form" value=(owner.form);
            (more)
            button type="submit" class=[no.then_some("no")] { (name) }
        }
    }
}

fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

pub(super) fn stranger(language: Language) -> Markup {
    let text = language.text();
    let content = html! { p { (text.stranger) } };
    layout(language, None, Part::None, text.title, content)
}

pub(super) fn refusal(language: Language, told: &str) -> Markup {
    let text = language.text();
    let content = html! {
        p role="alert" { (told) }
        p { a href="/" { (text.back) } }
    };
    layout(language, None, Part::None, text.refused, content)
}

pub(super) fn door(language: Language, token: &str) -> Markup {
    let text = language.text();
    let content = html! {
        p { (text.enter_hint) }
        form method="post" action="/enter" {
            input type="hidden" name="token" value=(token);
            button type="submit" { (text.enter) }
        }
    };
    layout(language, None, Part::None, text.title, content)
}

/// Privacy budget that the page shows.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// ε of the last year's answers in millionths, at `max_delta`.
    pub(super) spent: u64,
    /// Directory's ceiling of δ.
    pub(super) max_delta: f64,
}

fn epsilon(millionths: u64) -> f64 {
    millionths as f64 / 1e6
}

fn spent(language: Language, budget: Budget) -> String {
    let text = language.text();
    format!(
        "{} {} ({} {})",
        text.spent,
        epsilon(budget.spent),
        text.at_delta,
        budget.max_delta
    )
}

/// Describes ε and δ of a query in words.
fn noise(language: Language, asked: &Asked) -> String {
    let text = language.text();
    let Some(millionths) = asked.epsilon else {
        return text.exact.to_owned();
    };
    let epsilon = format!("epsilon {}", epsilon(millionths));
    match asked.delta {
        0.0 => epsilon,
        delta => format!("{epsilon}, delta {delta}: {} {}", text.chance, odds(delta)),
    }
}

/// Writes a probability as one in a whole number, rounded up to the larger probability.
fn odds(delta: f64) -> String {
    format!("1/{:.0}", delta.recip().floor())
}

pub(super) fn home(
    language: Language,
    owner: &Owner,
    entries: &[Entry],
    rules: &Rules,
    budget: Budget,
) -> Markup {
    let text = language.text();
    let waiting: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.outcome == Outcome::Waiting)
        .collect();
    let standing = match rules.otherwise {
        Otherwise::Deny => text.standing[0],
        Otherwise::Ask => text.standing[1],
    };
    let content = html! {
        h2 { (text.waiting) }
        @if waiting.is_empty() {
            p { (text.nothing_waits) }
        }
        @for entry in waiting {
            div.card {
                p { strong { (entry.manifest.querier) } " – " (entry.manifest.purpose) }
                p { (text.decide_by) " " (entry.manifest.answer_from) }
                p { a href={ "/request/" (entry.query) } { (text.details) } }
            }
        }
        p { (standing) }
        p { (spent(language, budget)) }
        h2 { (text.latest) }
        (table(language, entries))
    };
    layout(language, Some(owner), Part::Questions, text.nav[0], content)
}

fn table(language: Language, entries: &[Entry]) -> Markup {
    let text = language.text();
    html! {
        @if entries.is_empty() {
            p { (text.nothing_asked) }
        } @else {
            table {
                thead { tr { @for column in text.columns { th scope="col" { (column) } } } }
                tbody {
                    @for entry in entries {
                        tr {
                            td { (entry.received) }
                            td { (entry.manifest.querier) }
                            td { (entry.manifest.purpose) }
                            td { (text.outcome(entry.outcome)) }
                            td { a href={ "/request/" (entry.query) } { (text.details) } }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the name of a field with its unit.
fn field(catalogue: &Catalogue, doctype: &str, name: &str) -> String {
    let doctype = catalogue.doctype(doctype);
    let unit = doctype.and_then(|doctype| doctype.field(name));
    match unit.map(|field| field.unit.as_str()) {
        None | Some("") => name.to_owned(),
        Some(unit) => format!("{name} ({unit})"),
    }
}

pub(super) fn request(
    language: Language,
    owner: &Owner,
    entry: &Entry,
    catalogue: &Catalogue,
) -> Markup {
    let text = language.text();
    let asked = Asked::of(&entry.manifest);
    let fields: Vec<String> = asked
        .fields
        .iter()
        .map(|name| field(catalogue, &asked.doctype, name))
        .collect();
    let place = format!("/request/{}", entry.query);
    let content = html! {
        dl {
            dt { (text.asked_by) } dd { (asked.querier) }
            dt { (text.purpose) } dd { (asked.purpose) }
            dt { (text.received) } dd { (entry.received) }
            dt { (text.outcome) }
            dd {
                (text.outcome(entry.outcome))
                @if let Some(rule) = entry.rule { " (" (text.by_rule) " " (rule) ")" }
            }
            dt { (text.doctype) } dd { (asked.doctype) }
            dt { (text.fields) }
            dd { @if fields.is_empty() { (text.no_field) } @else { (fields.join(", ")) } }
            dt { (text.cohort) } dd { (asked.min_cohort) " " (text.cohort_of) }
            dt { (text.protection) }
            dd { (noise(language, &asked)) }
        }
        @if asked.training { p { (text.training) } }
        @if entry.outcome == Outcome::Waiting {
            section.card aria-label=(text.decide) {
                h2 { (text.decide) }
                p { (text.decide_by) " " (entry.manifest.answer_from) }
                (button(owner, &format!("{place}/allow"), text.allow, false, html! {}))
                (button(owner, &format!("{place}/deny"), text.deny, true, html! {}))
            }
        }
        h2 { (text.in_words) }
        ul {
            @for sentence in describe(language, &entry.manifest) { li { (sentence) } }
        }
        p.hint { (text.who_is_asked) }
        h2 { (text.in_sql) }
        pre { (entry.manifest.local.sql()) }
        h2 { (text.left) }
        @if let Some((homes, groups)) = &entry.sent {
            ul {
                @for group in groups {
                    li {
                        (group.bytes) " " (text.left_of[0]) " " (homes) " "
                        (text.left_of[1]) " " (group.aggregator)
                    }
                }
            }
            @if !entry.outcome.answers() { p { (text.zeros) } }
        } @else {
            p { (text.nothing_left) }
        }
        h2 { (text.rule_from) }
        p.hint { (text.rule_hint) }
        (button(owner, &format!("{place}/rule"), text.always_allow, false, hidden("effect", "allow")))
        (button(owner, &format!("{place}/rule"), text.always_deny, true, hidden("effect", "deny")))
    };
    let heading = format!("{} – {}", asked.querier, asked.purpose);
    layout(language, Some(owner), Part::Questions, &heading, content)
}

fn list(names: &Option<Vec<String>>, any: &str) -> String {
    names
        .as_ref()
        .map_or_else(|| any.to_owned(), |names| names.join(", "))
}

fn rule(language: Language, owner: &Owner, rule: &Rule) -> Markup {
    let text = language.text();
    html! {
        section.card aria-label={ (text.rule_number) " " (rule.number) } {
            h2 { (text.effect(rule.effect)) " (" (text.rule_number) " " (rule.number) ")" }
            dl {
                dt { (text.querier) } dd { (list(&rule.queriers, text.any)) }
                dt { (text.purpose) } dd { (list(&rule.purposes, text.any)) }
                dt { (text.doctype) } dd { (list(&rule.doctypes, text.any)) }
                dt { (text.fields) }
                dd {
                    @if rule.fields.as_ref().is_some_and(Vec::is_empty) {
                        (text.no_field)
                    } @else {
                        (list(&rule.fields, text.any))
                    }
                }
                @if let Some(cohort) = rule.min_cohort {
                    dt { (text.cohort) } dd { (text.at_least) " " (cohort) }
                }
                @if rule.effect == Effect::Allow {
                    dt { (text.protection) }
                    dd {
                        @if rule.exact { (text.exact) }
                        @if let Some(most) = rule.epsilon.filter(|most| *most > 0.0) {
                            " " (text.at_most) " epsilon " (most)
                        }
                        @if let Some(most) = rule.delta { ", " (text.at_most) " delta " (most) }
                        @if let Some(most) = rule.epsilon_per_year {
                            ", " (text.at_most) " epsilon " (most) " " (text.a_year)
                        }
                    }
                    @if rule.training {
                        dt { "" }
                        dd {
                            (text.training)
                            @if let Some(most) = rule.rounds { " (" (text.at_most) " " (most) ")" }
                        }
                    }
                }
            }
            (button(owner, &format!("/rules/{}/remove", rule.number), text.remove, true, html! {}))
        }
    }
}

pub(super) fn rules(language: Language, owner: &Owner, rules: &Rules, budget: Budget) -> Markup {
    let text = language.text();
    let content = html! {
        @if rules.rules.is_empty() { p { (text.no_rules) } }
        @for one in &rules.rules { (rule(language, owner, one)) }
        form.stacked method="post" action="/rules" {
            input type="hidden" name="form" value=(owner.form);
            fieldset {
                legend { (text.otherwise) }
                label {
                    input type="radio" name="otherwise" value="deny"
                        checked[rules.otherwise == Otherwise::Deny];
                    " " (text.otherwise_deny)
                }
                label {
                    input type="radio" name="otherwise" value="ask"
                        checked[rules.otherwise == Otherwise::Ask];
                    " " (text.otherwise_ask)
                }
            }
            label {
                (text.year_limit)
                input type="text" inputmode="decimal" name="epsilon_per_year"
                    value=[rules.epsilon_per_year.map(|limit| limit.to_string())];
            }
            p.hint { (text.year_hint) " " (spent(language, budget)) }
            label {
                (text.email)
                input type="email" name="email" autocomplete="email" value=[&rules.email];
            }
            p.hint { (text.email_hint) }
            button type="submit" { (text.save) }
        }
    };
    layout(language, Some(owner), Part::Rules, text.rules, content)
}

pub(super) fn history(
    language: Language,
    owner: &Owner,
    entries: &[Entry],
    (place, more): (usize, bool),
) -> Markup {
    let text = language.text();
    let content = html! {
        p { a href="/export.json" { (text.export) } }
        (table(language, entries))
        p {
            @if place > 0 { a href={ "/history?page=" (place - 1) } { (text.newer) } " " }
            @if more { a href={ "/history?page=" (place + 1) } { (text.older) } }
        }
    };
    layout(language, Some(owner), Part::History, text.history, content)
}

pub(super) fn subscriptions(
    language: Language,
    owner: &Owner,
    concepts: &[String],
    can_withdraw: bool,
) -> Markup {
    let text = language.text();
    let action = "/subscriptions/withdraw";
    let content = html! {
        p { (text.subscriptions_hint) }
        @if concepts.is_empty() {
            p { (text.no_subscriptions) }
        } @else {
            ul {
                @for concept in concepts {
                    li {
                        (concept) " "
                        @if can_withdraw {
                            (button(owner, action, text.withdraw, true, hidden("concept", concept)))
                        }
                    }
                }
            }
            @if can_withdraw {
                (button(owner, action, text.withdraw_all, true, html! {}))
            }
        }
    };
    layout(
        language,
        Some(owner),
        Part::Subscriptions,
        text.subscriptions,
        content,
    )
}
