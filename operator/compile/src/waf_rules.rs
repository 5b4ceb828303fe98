//! Compiles the rules of a WafPolicy: what can be said of them, beside the Core Rule Set where it is known here.

use breakwater_crds as crds;
use breakwater_snapshot::unit::{BodyType, Crs, RuleExclusion, RuleSelection, Rules, SecLangSource};
use breakwater_waf::bundle::{self, Mistake, Own, Source};
use breakwater_waf::catalog::Catalog;
use breakwater_waf::review::{Beside, Fields, review_beside};
use breakwater_waf::seclang::{Action, Directive, DirectiveKind, Phase, Rule};

use crate::edge_cache::collect;
use crate::findings::Findings;
use crate::index::Index;
use crate::value;
use crate::waf_effects;
use crate::waf_groups;
use crate::waf_link::Links;
use crate::waf_policy::sorted;

/// Most bytes of SecLang in one policy, over all its sources.
const MAX_SECLANG: usize = 1 << 20;

/// Most bytes of a body that rules can be asked to look at.
const MAX_INSPECT: u64 = 16 << 20;

const INLINE: &str = "spec.seclang.inline";

/// Reads `spec.crs`, `spec.seclang`, `spec.body` and `spec.sampling`. None where a policy has no rules.
pub(crate) fn read(
    namespace: &str,
    spec: &crds::WafPolicySpec,
    index: &Index<'_>,
    links: &mut Links<'_>,
    findings: &mut Findings,
) -> Option<Rules> {
    if spec.crs.is_none() && spec.seclang.is_none() {
        if spec.body.is_some() {
            findings.warning("spec.body", "nothing looks at bodies: give crs or seclang");
        }
        if spec.sampling.is_some() {
            findings.warning("spec.sampling", "there are no rules to sample for: give crs or seclang");
        }
        return None;
    }
    let body = spec.body.clone().unwrap_or_default();
    let inspect_response = body
        .response
        .as_ref()
        .and_then(|response| size(findings, "spec.body.response.inspect", &response.inspect));
    let seclang = spec.seclang.as_ref();
    let sources = seclang.map_or_else(Vec::new, |seclang| sources(namespace, seclang, index, findings));
    let crs = spec.crs.as_ref();
    let inspect = size(findings, "spec.body.inspect", &body.inspect).unwrap_or_default();
    let reject_larger = body.on_exceed == crds::OnExceed::Reject;
    let fields = Fields {
        enforces: spec.mode == crds::WafMode::Enforce,
        inspect,
        reject_larger,
        inspect_response,
    };
    let beside = match (crs, index.crs) {
        (None, _) => Beside::Alone,
        (Some(_), None) => Beside::SomeCrs,
        (Some(_), Some(catalog)) => Beside::Crs(catalog),
    };
    let own = own_rules(&sources, beside, links, &fields, findings);
    if let (Some(crs), Some(own)) = (crs, own)
        && !(crs.exclusions.is_empty() && crs.modes.is_empty() && own.changes().is_empty())
    {
        let rules = waf_effects::Rules {
            crs: index.crs,
            own: &Catalog::of_own(&own),
        };
        waf_effects::check(crs, &rules, findings);
        if index.crs.is_none() {
            waf_effects::removals(&own, &rules, findings);
        }
    }
    Some(Rules {
        crs: crs.map(|crs| core(crs, findings)),
        disabled_groups: crs.and_then(|crs| crs.groups.as_ref()).map_or_else(Vec::new, |groups| {
            waf_groups::disabled(groups, inspect_response.is_some(), findings)
        }),
        seclang: sources,
        exclusions: crs.map_or_else(Vec::new, |crs| exclusions(&crs.exclusions, findings)),
        detect_only: crs.map_or_else(Vec::new, |crs| {
            let lists = crs.modes.iter().enumerate();
            lists
                .flat_map(|(i, mode)| selection(&mode.rules, &format!("spec.crs.modes[{i}].rules"), findings))
                .collect()
        }),
        inspect,
        reject_larger,
        body_types: body_types(&body, inspect, findings),
        inspect_response,
        sampled_percent: spec.sampling.as_ref().and_then(|spec| sampling(spec, findings)),
    })
}

fn sampling(spec: &crds::Sampling, findings: &mut Findings) -> Option<u8> {
    const FIELD: &str = "spec.sampling.percent";
    match spec.percent {
        101.. => findings.error(FIELD, format!("`{}` is no share: write 0 to 100", spec.percent)),
        0 => findings.warning(
            FIELD,
            "no request is judged by rules: leave crs and seclang out, or write more",
        ),
        _ => {}
    }
    Some(spec.percent).filter(|percent| *percent < 100)
}

/// `inspect`: what holds where an entry says nothing.
fn body_types(body: &crds::BodyInspection, inspect: u64, findings: &mut Findings) -> Vec<BodyType> {
    let mut out = Vec::with_capacity(body.types.len());
    for (i, spec) in body.types.iter().enumerate() {
        let field = format!("spec.body.types[{i}]");
        if spec.content_types.is_empty() {
            findings.error(format!("{field}.contentTypes"), "the list is empty: name media types");
        }
        if spec.inspect.is_none() && spec.on_exceed.is_none() {
            findings.error(
                &field,
                "it says nothing that does not hold for all bodies: give inspect or onExceed",
            );
        }
        let mut content_types = Vec::with_capacity(spec.content_types.len());
        for (j, media_type) in spec.content_types.iter().enumerate() {
            let read = value::media_type(media_type.as_str());
            content_types.extend(findings.take(format!("{field}.contentTypes[{j}]"), read));
        }
        out.push(BodyType {
            content_types: sorted(content_types),
            inspect: match &spec.inspect {
                None => inspect,
                Some(quantity) => {
                    let field = format!("{field}.inspect");
                    let bytes = findings.take(field.as_str(), quantity.bytes());
                    limited(findings, &field, quantity, bytes).unwrap_or_default()
                }
            },
            reject_larger: spec.on_exceed.unwrap_or(body.on_exceed) == crds::OnExceed::Reject,
        });
    }
    out
}

fn size(findings: &mut Findings, field: &str, quantity: &crds::Quantity) -> Option<u64> {
    let bytes = findings.take(field, value::positive_bytes(quantity));
    limited(findings, field, quantity, bytes)
}

fn limited(findings: &mut Findings, field: &str, quantity: &crds::Quantity, bytes: Option<u64>) -> Option<u64> {
    let bytes = bytes?;
    if bytes > MAX_INSPECT {
        findings.error(
            field,
            format!("`{quantity}` is more than rules can be asked to look at: 16Mi at most"),
        );
    }
    Some(bytes)
}

fn core(spec: &crds::Crs, findings: &mut Findings) -> Crs {
    let detection = spec.detection_paranoia_level.unwrap_or(spec.paranoia_level);
    for (field, level) in [
        ("paranoiaLevel", spec.paranoia_level),
        ("detectionParanoiaLevel", detection),
    ] {
        if !(1..=4).contains(&level) {
            findings.error(
                format!("spec.crs.{field}"),
                format!("`{level}` is not a paranoia level: write 1, 2, 3 or 4"),
            );
        }
    }
    if detection < spec.paranoia_level {
        findings.error(
            "spec.crs.detectionParanoiaLevel",
            format!(
                "`{detection}` is below paranoiaLevel, whose rules run: write {} or more, or leave it out",
                spec.paranoia_level
            ),
        );
    }
    let thresholds = &spec.thresholds;
    for (field, threshold) in [("inbound", thresholds.inbound), ("outbound", thresholds.outbound)] {
        if threshold == 0 {
            findings.error(
                format!("spec.crs.thresholds.{field}"),
                "`0` would refuse everything: write at least 1",
            );
        }
    }
    Crs {
        paranoia_level: spec.paranoia_level,
        detection_paranoia_level: detection,
        inbound: thresholds.inbound,
        outbound: thresholds.outbound,
        early_blocking: spec.early_blocking,
    }
}

fn exclusions(list: &[crds::RuleExclusion], findings: &mut Findings) -> Vec<RuleExclusion> {
    let mut out = Vec::with_capacity(list.len());
    for (i, exclusion) in list.iter().enumerate() {
        let field = format!("spec.crs.exclusions[{i}]");
        for (j, target) in exclusion.targets.iter().enumerate() {
            findings.take(format!("{field}.targets[{j}]"), bundle::target(target));
        }
        out.push(RuleExclusion {
            rules: selection(&exclusion.rules, &format!("{field}.rules"), findings),
            targets: exclusion.targets.clone(),
            paths: value::paths(findings, &format!("{field}.paths"), &exclusion.paths),
            methods: sorted(collect(
                findings,
                &format!("{field}.methods"),
                &exclusion.methods,
                |name| value::method(name.as_str()),
            )),
        });
    }
    out
}

pub(crate) fn selection(spec: &crds::RuleSelector, field: &str, findings: &mut Findings) -> Vec<RuleSelection> {
    let mut ids: Vec<(u32, u32)> = spec.ids.iter().map(|id| (*id, *id)).collect();
    ids.extend(spec.groups.iter().flat_map(|group| waf_groups::ids(*group)));
    for (i, text) in spec.ranges.iter().enumerate() {
        ids.extend(findings.take(format!("{field}.ranges[{i}]"), range(text)));
    }
    if ids.is_empty() && spec.tags.is_empty() {
        findings.error(field, "it names no rule: give ids, ranges, tags or groups");
    }
    ids.sort_unstable();
    ids.dedup();
    let tags = sorted(spec.tags.clone()).into_iter().map(RuleSelection::Tag);
    let ids = (!ids.is_empty()).then_some(RuleSelection::Ids(ids));
    ids.into_iter().chain(tags).collect()
}

pub(crate) fn range(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('-').and_then(|(from, to)| {
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from <= to).then_some((from, to))
    });
    parsed.ok_or_else(|| format!("`{text}` is not a range of rule ids: write it as 942000-942999"))
}

/// The texts, in order. One that is missing is an error: rules that are not there protect nothing.
fn sources(namespace: &str, spec: &crds::SecLang, index: &Index<'_>, findings: &mut Findings) -> Vec<SecLangSource> {
    let mut sources = Vec::new();
    for (i, reference) in spec.config_maps.iter().enumerate() {
        let field = format!("spec.seclang.configMaps[{i}]");
        let name = format!("ConfigMap/{namespace}/{}/{}", reference.name, reference.key);
        match index.config_map(namespace, reference) {
            Ok(text) => sources.push(SecLangSource {
                name,
                text: text.to_owned(),
            }),
            Err(message) => findings.error(field, message),
        }
    }
    sources.extend(spec.inline.as_ref().map(|text| SecLangSource {
        name: INLINE.to_owned(),
        text: text.clone(),
    }));
    if sources.is_empty() && spec.config_maps.is_empty() {
        findings.error("spec.seclang", "it has no rules: give inline or configMaps");
    }
    sources
}

/// Reads the rules as nodes do, as far as that goes where the Core Rule Set is not known, and says all that is wrong at
/// once: each with its place, the field and the line, or the ConfigMap, for that is not in the policy's manifest, and the
/// line. None where something is.
fn own_rules(
    sources: &[SecLangSource],
    beside: Beside<'_>,
    links: &mut Links<'_>,
    fields: &Fields,
    findings: &mut Findings,
) -> Option<Own> {
    if sources.is_empty() {
        return Some(Own::default());
    }
    let size: usize = sources.iter().map(|source| source.text.len()).sum();
    if size > MAX_SECLANG {
        findings.error(
            "spec.seclang",
            format!("{size} bytes of rules are too many: 1Mi at most, over all sources"),
        );
        return None;
    }
    let texts: Vec<Source<'_>> = sources
        .iter()
        .map(|source| Source {
            name: &source.name,
            text: &source.text,
        })
        .collect();
    let (own, unread) = Own::read(&texts);
    let whole = unread.is_empty();
    let mut errors: Vec<Mistake> = unread.into_iter().map(Mistake::from).collect();
    let refuses_nothing = whole && !own.rules().iter().any(is_rule);
    let review = review_beside(own.rules(), Some(fields), if whole { beside } else { Beside::Unread });
    errors.extend(review.errors);
    let mut warnings = review.warnings;
    // The Core Rule Set beside them mends no mistake of theirs. But it may have the markers and rules that these name, as
    // may what was not read.
    let beside_crs = !matches!(beside, Beside::Alone);
    if refuses_nothing && !(beside_crs && own.changes().len() + own.rules().len() > 0) {
        findings.warning(
            "spec.seclang",
            "it has no rule, so it refuses nothing: rules are lines such as SecRule and SecAction",
        );
    }
    let alone = bundle::compile(None, &own);
    match (&alone, beside) {
        (Ok(compiled), Beside::Alone) if whole => {
            warnings.extend(compiled.rules.warnings().iter().cloned().map(Mistake::from));
        }
        (_, Beside::Crs(catalog)) => match catalog.crs().map(|crs| links.link(crs, sources, &own)) {
            Some(Ok(told)) if whole => warnings.extend(told.iter().cloned()),
            Some(Err(mistakes)) => errors.extend(mistakes.iter().cloned()),
            _ => {}
        },
        _ => {}
    }
    for mistake in alone.err().into_iter().flatten() {
        if !errors.contains(&mistake) {
            errors.push(mistake);
        }
    }
    warnings.extend(
        fields
            .inspect_response
            .is_none()
            .then(|| idle_phases(own.rules()))
            .flatten(),
    );
    let place = |mistake: &Mistake| {
        let source = sources
            .iter()
            .position(|source| source.name == *mistake.position.source);
        (source, mistake.position.line)
    };
    let sound = errors.is_empty();
    errors.sort_by_key(place);
    warnings.sort_by_key(place);
    for Mistake { position, message } in errors {
        match sources.iter().any(|source| source.name == *position.source) {
            true => findings.error(position.to_string(), message),
            // A mistake of the Core Rule Set's, or one that shows there.
            false => findings.error(
                "spec.seclang",
                format!("beside the Core Rule Set: {position}: {message}"),
            ),
        }
    }
    for Mistake { position, message } in warnings {
        findings.warning(position.to_string(), message);
    }
    sound.then_some(own)
}

/// That rules of the phases of responses do not run, where responses are not inspected.
fn idle_phases(directives: &[Directive]) -> Option<Mistake> {
    let mut idle = directives.iter().filter(|directive| is_about_responses(directive));
    let first = idle.next()?;
    let more = match idle.count() {
        0 => String::new(),
        1 => ", nor does 1 more after it".to_owned(),
        more => format!(", nor do {more} more after it"),
    };
    Some(Mistake {
        position: first.position.clone(),
        message: format!(
            "a rule of phase 3 or 4 does not run while responses are not inspected{more}: give spec.body.response"
        ),
    })
}

fn is_rule(directive: &Directive) -> bool {
    matches!(directive.value, DirectiveKind::Rule(_))
}

fn is_about_responses(directive: &Directive) -> bool {
    let DirectiveKind::Rule(rule) = &directive.value else {
        return false;
    };
    matches!(phase(rule), Phase::ResponseHeaders | Phase::ResponseBody)
}

fn phase(rule: &Rule) -> Phase {
    let mut phases = rule.actions.iter().filter_map(|action| match action.value {
        Action::Phase(phase) => Some(phase),
        _ => None,
    });
    phases.next_back().unwrap_or_default()
}
