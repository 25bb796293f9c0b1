//! The search: which devices of one node the claims of a pod get.
//!
//! Requests are met one after the other, each from the first device on that fits; when a later one cannot be met, earlier choices are
//! taken back. Within a request the order of devices says nothing, so that each set of them is tried once. Work is bounded by a
//! budget that all nodes of one attempt share.

use std::cell::Cell;
use std::collections::HashMap;

use k8s_openapi::api::resource::v1::Device;

use super::amount::{Amounts, add, subtract};
use super::capacity::{fits, portion};
use super::constraint::Rule;
use super::counters::Counters;
use super::found::{Found, Pick, Place, Refusal, Seen, seen};
use super::plan::{Ask, Count, Demand, Plan};
use super::pool::{Pool, State};
use super::selector::{Selector, value};
use crate::model::NodeInfo;

/// Most devices of a claim; upstream's figure.
const MAX_DEVICES: usize = 32;
/// Most devices of a pod, and most claims: the search goes one call deeper for each.
const MAX_DEPTH: usize = 512;
/// Units of a selector's cost that count as one step of the search.
const COST_OF_STEP: u64 = 100;

/// Why a way leads nowhere.
enum Stop {
    /// A claim would have too many devices, whichever they are.
    TooMany,
    Refused(Refusal),
}

impl Stop {
    fn everywhere(why: String) -> Self {
        Stop::Refused(Refusal::Everywhere(why))
    }
}

struct Search<'s, 'a> {
    plan: &'s Plan<'a>,
    devices: Vec<Seen<'a>>,
    /// The devices of requests for all.
    all: HashMap<Place, Vec<usize>>,
    /// Whether a request's selectors mean a device.
    known: HashMap<(Place, usize), bool>,
    counters: Counters<'a>,
    rules: Vec<Vec<Rule<'a>>>,
    picks: Vec<Vec<(usize, Pick<'a>)>>,
    /// How many picks there are.
    depth: usize,
    budget: &'s Cell<u64>,
}

impl<'a> Plan<'a> {
    /// What `node` has for the claims; nothing when it does not have enough.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn search(&self, node: &'a NodeInfo, budget: &Cell<u64>) -> Result<Option<Found<'a>>, Refusal> {
        // Once it is given up, no other node is looked at.
        if budget.get() == 0 {
            return Err(timed_out());
        }
        let pools = self.devices.inventory.pools_of(node);
        let mut search = Search {
            plan: self,
            devices: seen(self, &pools, node),
            all: HashMap::new(),
            known: HashMap::new(),
            counters: Counters::new(&self.devices.usage),
            rules: self.claims.iter().map(|own| own.constraints.iter().map(Rule::new).collect()).collect(),
            picks: vec![Vec::new(); self.claims.len()],
            depth: 0,
            budget,
        };
        let outcome = search.count_all(&pools).and_then(|()| search.claim(0));
        match outcome {
            Ok(true) => {}
            Ok(false) | Err(Stop::TooMany) if pools.iter().any(|pool| pool.state == State::Invalid) => {
                return Err(Refusal::Here("invalid resource pools were encountered".to_owned()));
            }
            Ok(false) | Err(Stop::TooMany) => return Ok(None),
            Err(Stop::Refused(refusal)) => return Err(refusal),
        }
        let picks = search.picks.into_iter().map(|own| own.into_iter().map(|(_, pick)| pick).collect());
        Ok(Some(Found { picks: picks.collect() }))
    }

    fn asks(&self) -> impl Iterator<Item = (Place, &Ask<'a>)> {
        self.claims.iter().enumerate().flat_map(|(claim, own)| {
            own.demands.iter().enumerate().flat_map(move |(demand, asks)| {
                asks.iter().enumerate().map(move |(index, ask)| ((claim, demand, index), ask))
            })
        })
    }

    fn ask(&self, (claim, demand, index): Place) -> Option<&Ask<'a>> {
        self.claims.get(claim)?.demands.get(demand)?.get(index)
    }
}

impl<'a> Search<'_, 'a> {
    /// Finds out how many devices requests for all mean, and whether a claim wants more than it may have.
    fn count_all(&mut self, pools: &[&Pool]) -> Result<(), Stop> {
        let plan = self.plan;
        if plan.claims.len() > MAX_DEPTH {
            return Err(too_deep());
        }
        for (place, ask) in plan.asks().filter(|(_, ask)| ask.count == Count::All) {
            let claim = plan.claims.get(place.0).map_or("", |own| own.name.as_str());
            let busy = pools.iter().find(|pool| pool.state != State::Whole);
            if let Some(pool) = busy {
                let state = if pool.state == State::Invalid { "invalid" } else { "being updated" };
                return Err(Stop::everywhere(format!(
                    "claim {claim}, request {}: asks for all devices, but resource pool {} is currently {state}",
                    ask.name(),
                    pool.id
                )));
            }
            let mut meant = Vec::new();
            for index in 0..self.devices.len() {
                if self.is_meant(place, ask, index)? {
                    meant.push(index);
                }
            }
            self.all.insert(place, meant);
        }
        for (index, claim) in plan.claims.iter().enumerate() {
            let least = |(demand, asks): (usize, &Demand<'a>)| {
                (0..asks.len()).map(|ask| self.count((index, demand, ask))).min().unwrap_or(0)
            };
            let least = claim.demands.iter().enumerate().map(least).fold(0, usize::saturating_add);
            if least > MAX_DEVICES {
                return Err(Stop::everywhere(format!(
                    "claim {}: number of requested devices {least} exceeds the claim limit of {MAX_DEVICES}",
                    claim.name
                )));
            }
        }
        Ok(())
    }

    /// How many devices a request takes.
    fn count(&self, place: Place) -> usize {
        match self.plan.ask(place).map(|ask| ask.count) {
            Some(Count::Exactly(count)) => count,
            Some(Count::All) => self.all.get(&place).map_or(0, Vec::len),
            None => 0,
        }
    }

    /// Finds devices for the claims from `claim` on.
    fn claim(&mut self, claim: usize) -> Result<bool, Stop> {
        if claim >= self.plan.claims.len() {
            return Ok(true);
        }
        match self.demand(claim, 0) {
            // Another choice for a claim before may leave it alternatives that need fewer.
            Err(Stop::TooMany) => Ok(false),
            outcome => outcome,
        }
    }

    /// Finds devices for the requests of a claim from `demand` on, and for the claims behind it.
    fn demand(&mut self, claim: usize, demand: usize) -> Result<bool, Stop> {
        let plan = self.plan;
        let Some(asks) = plan.claims.get(claim).and_then(|own| own.demands.get(demand)) else {
            return self.claim(claim + 1);
        };
        let mut too_many = true;
        for index in 0..asks.len() {
            match self.device((claim, demand, index), 0, 0) {
                Err(Stop::TooMany) => {}
                Ok(false) => too_many = false,
                outcome => return outcome,
            }
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// Finds the devices of a request of which `have` are picked already, none of them before `from`, and all that comes behind it.
    fn device(&mut self, place: Place, have: usize, from: usize) -> Result<bool, Stop> {
        let (plan, count) = (self.plan, self.count(place));
        let Some(ask) = plan.ask(place) else { return Ok(false) };
        let all = ask.count == Count::All;
        if all && count == 0 {
            return Ok(false);
        }
        if have >= count {
            return self.demand(place.0, place.1 + 1);
        }
        let picked = self.picks.get(place.0).map_or(0, Vec::len);
        if picked.saturating_add(count - have) > MAX_DEVICES {
            return Err(Stop::TooMany);
        }
        if self.depth >= MAX_DEPTH {
            return Err(too_deep());
        }
        if all {
            // Which comes first says nothing: there is no other choice than the next one.
            let Some(&index) = self.all.get(&place).and_then(|all| all.get(have)) else { return Ok(false) };
            return self.with(place, ask, index, have);
        }
        for index in from..self.devices.len() {
            self.spend(1)?;
            if self.may_have(place.0, ask, index)
                && self.is_meant(place, ask, index)?
                && self.with(place, ask, index, have)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Picks a device and goes on; takes it back when that leads nowhere.
    fn with(&mut self, place: Place, ask: &Ask<'a>, index: usize, have: usize) -> Result<bool, Stop> {
        if !self.pick(place, ask, index)? {
            return Ok(false);
        }
        let again = self.devices.get(index).is_some_and(Seen::is_shared);
        let outcome = self.device(place, have + 1, if again { index } else { index + 1 });
        if !matches!(outcome, Ok(true)) {
            self.put_back(place.0, ask);
        }
        outcome
    }

    fn spend(&self, steps: u64) -> Result<(), Stop> {
        match self.budget.get().checked_sub(steps) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => {
                self.budget.set(0);
                Err(Stop::Refused(timed_out()))
            }
        }
    }

    /// Whether nobody has the device who keeps this request from it.
    fn may_have(&self, claim: usize, ask: &Ask<'_>, index: usize) -> bool {
        let Some(seen) = self.devices.get(index) else { return false };
        if ask.admin { !seen.holders.contains(&claim) } else { !seen.used && seen.holders.is_empty() }
    }

    /// Whether the selectors of a request and its class mean a device.
    fn is_meant(&mut self, place: Place, ask: &Ask<'_>, index: usize) -> Result<bool, Stop> {
        if let Some(known) = self.known.get(&(place, index)) {
            return Ok(*known);
        }
        let selectors = ask.class_selectors.iter().chain(&ask.selectors);
        let meant = self.all_mean(selectors, index)?;
        self.known.insert((place, index), meant);
        Ok(meant)
    }

    fn all_mean<'b>(&mut self, selectors: impl Iterator<Item = &'b Selector>, index: usize) -> Result<bool, Stop> {
        let Some(seen) = self.devices.get_mut(index) else { return Ok(false) };
        let (pool, device) = (seen.pool, seen.device);
        let own = seen.value.get_or_insert_with(|| value(&pool.id.driver, device)).clone();
        for selector in selectors {
            let (outcome, cost) = selector.means(&own);
            self.spend(cost / COST_OF_STEP)?;
            if !outcome.map_err(Stop::everywhere)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Picks a device for a request, if nothing is in the way.
    fn pick(&mut self, place: Place, ask: &Ask<'a>, index: usize) -> Result<bool, Stop> {
        if !self.may_have(place.0, ask, index) {
            return Ok(false);
        }
        let Some(seen) = self.devices.get_mut(index) else { return Ok(false) };
        if !ask.tolerates(seen.device) {
            return Ok(false);
        }
        let shared = seen.is_shared();
        let mut part = None;
        if shared || ask.capacity.is_some() {
            let Some(own) = portion(&seen.pool.id.driver, seen.device, ask.capacity) else { return Ok(false) };
            if !fits(seen.device, &seen.shared, &own) {
                return Ok(false);
            }
            part = Some(own).filter(|_| shared);
        }
        if !admitted(self.rules.get_mut(place.0), ask, &seen.pool.id.driver, seen.device) {
            if ask.count != Count::All {
                return Ok(false);
            }
            let claim = self.plan.claims.get(place.0).map_or("", |own| own.name.as_str());
            return Err(Stop::everywhere(format!(
                "claim {claim}, request {}: cannot add device {}/{} because a claim constraint would not be satisfied",
                ask.name(),
                seen.pool.id,
                seen.device.name
            )));
        }
        // Those who share a device take once of what it has in common with others, and administrators nothing.
        let first = !ask.admin && (!shared || seen.shares == 0);
        if first && !self.counters.take(seen.pool, seen.device) {
            withdrawn(self.rules.get_mut(place.0), ask);
            return Ok(false);
        }
        if !shared {
            seen.holders.push(place.0);
        } else if !ask.admin {
            seen.shares += 1;
            add(&mut seen.shared, part.as_ref().unwrap_or(&Amounts::new()));
        }
        let pick = Pick { place, pool: seen.pool, slice: seen.slice, device: seen.device, portion: part };
        if let Some(picks) = self.picks.get_mut(place.0) {
            picks.push((index, pick));
            self.depth += 1;
        }
        Ok(true)
    }

    /// Takes back what a claim picked last.
    fn put_back(&mut self, claim: usize, ask: &Ask<'a>) {
        let Some((index, pick)) = self.picks.get_mut(claim).and_then(Vec::pop) else { return };
        let Some(seen) = self.devices.get_mut(index) else { return };
        self.depth -= 1;
        let shared = seen.is_shared();
        if !shared {
            seen.holders.retain(|own| *own != claim);
        } else if !ask.admin {
            seen.shares -= 1;
            subtract(&mut seen.shared, pick.portion.as_ref().unwrap_or(&Amounts::new()));
        }
        if !ask.admin && (!shared || seen.shares == 0) {
            self.counters.put_back(seen.pool, seen.device);
        }
        withdrawn(self.rules.get_mut(claim), ask);
    }
}

fn timed_out() -> Refusal {
    Refusal::Here("timed out trying to allocate devices".to_owned())
}

fn too_deep() -> Stop {
    Stop::everywhere(format!("the claims of a pod can have {MAX_DEPTH} devices together"))
}

/// Whether all rules of a claim let a device join; when one does not, none has it.
fn admitted<'a>(rules: Option<&mut Vec<Rule<'a>>>, ask: &Ask<'_>, driver: &str, device: &'a Device) -> bool {
    let Some(rules) = rules else { return true };
    let Some(against) = rules.iter_mut().position(|rule| !rule.admit(ask, driver, device)) else { return true };
    rules.iter_mut().take(against).for_each(|rule| rule.withdraw(ask));
    false
}

fn withdrawn(rules: Option<&mut Vec<Rule<'_>>>, ask: &Ask<'_>) {
    rules.into_iter().flatten().for_each(|rule| rule.withdraw(ask));
}
