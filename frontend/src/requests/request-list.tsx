import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Requests } from "../api/operation";
import { query } from "../api/query";
import { socketState } from "../api/socket";
import type { RequestFilter as Filter, RequestPage } from "../api/types";
import { formatCount } from "../format";
import { Notice } from "../parts/notice";
import { useSignal } from "../parts/use-signal";
import { store } from "../progress/store";
import { watchList } from "../progress/watch-list";
import { RequestCard } from "./request-card";
import { RequestFilter } from "./request-filter";

//: Each running request on a page needs a subscription, so pages are small.
const PAGE_SIZE = 12;
//: Without live updates, polling shows all changes.
const DISCONNECTED_POLL_MS = 3_000;

interface Props {
  /** Requests accepted on this page, newest first. */
  accepted: readonly string[];
  onLimits: (maxUploadBytes: number) => void;
}

export function RequestList(props: Props) {
  const [filter, setFilter] = useState<Filter>({});
  const [total, setTotal] = useState(0);
  const isFiltered = Boolean(filter.status || filter.fileName);
  // A new request is shown in any case.
  useEffect(() => {
    if (props.accepted.length) setFilter({});
  }, [props.accepted]);
  return (
    <section aria-labelledby="requests-title">
      <h2 id="requests-title">
        Requests {total > 0 && <small>{formatCount(total)}</small>}
      </h2>
      {(total > 0 || isFiltered) && <RequestFilter filter={filter} onChange={(change) => setFilter((old) => ({ ...old, ...change }))} />}
      {/* Keyed: late answers to another filter change nothing. */}
      <Matching key={JSON.stringify(filter)} {...props} filter={filter} isFiltered={isFiltered} onTotal={setTotal} />
    </section>
  );
}

interface MatchingProps extends Props {
  filter: Filter;
  isFiltered: boolean;
  onTotal: (total: number) => void;
}

function Matching({ accepted, onLimits, filter, isFiltered, onTotal }: MatchingProps) {
  const isGone = useRef(false);
  const [ids, setIds] = useState<string[] | null>(null);
  const [end, setEnd] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  const load = useCallback(async (after: string | null) => {
    const { requests, limits } = await query(Requests, { first: PAGE_SIZE, after, filter });
    onLimits(limits.maxUploadBytes);
    return requests;
  }, []);

  const apply = useCallback(({ edges, totalCount }: RequestPage): string[] => {
    edges.forEach(({ node }) => store.applySnapshot(node));
    if (!isGone.current) onTotal(totalCount);
    return edges.map(({ node }) => node.id);
  }, []);

  const showFirst = useCallback((page: RequestPage) => {
    const found = apply(page);
    const next = page.pageInfo;
    setError(null);
    setIds((old) => {
      const rest = next.hasNextPage ? olderThan(found, old ?? []) : [];
      if (!rest.length) setEnd(next.hasNextPage ? next.endCursor : null);
      return [...found, ...rest];
    });
  }, []);

  const refresh = useCallback(async () => {
    try {
      showFirst(await load(null));
    } catch (error) {
      setError((error as Error).message);
    }
  }, []);

  const more = async () => {
    setBusy(true);
    try {
      const page = await load(end);
      const found = apply(page);
      const next = page.pageInfo;
      setIds((old) => [...new Set([...(old ?? []), ...found])]);
      setEnd(next.hasNextPage ? next.endCursor : null);
    } catch (error) {
      setError((error as Error).message);
    }
    setBusy(false);
  };

  useEffect(() => {
    if (accepted.length && !isFiltered) setIds((old) => [...new Set([...accepted, ...(old ?? [])])]);
    void refresh();
  }, [accepted, refresh]);

  useEffect(() => watchList(PAGE_SIZE, filter, showFirst), [showFirst]);
  useEffect(() => () => void (isGone.current = true), []);

  const lost = useSignal(socketState) === "lost";
  useEffect(() => {
    if (!lost) return;
    const timer = setInterval(() => document.hidden || void refresh(), DISCONNECTED_POLL_MS);
    return () => clearInterval(timer);
  }, [lost, refresh]);

  return (
    <>
      {error && (
        <Notice tone="bad" title={error} action={{ text: "Try again", run: refresh }}>
          {ids ? "The list may be out of date." : "The list of requests could not be loaded."}
        </Notice>
      )}
      {!ids && !error && <Skeleton />}
      {ids?.length === 0 && isFiltered && <Notice title="No matching requests" />}
      {ids?.length === 0 && !isFiltered && (
        <Notice title="No requests yet">
          Drop your shop's product export to start. <a href="/static/template.csv" download>The template</a> shows the format.
        </Notice>
      )}
      <ul class="list">
        {ids?.map((id) => (
          <RequestCard key={id} id={id} />
        ))}
      </ul>
      {end && (
        <button class="more" onClick={more} disabled={busy}>
          {busy ? "Loading …" : "Show older requests"}
        </button>
      )}
    </>
  );
}

/** The listed IDs after the first page: a refresh keeps them and drops deleted requests from the first page. */
function olderThan(found: string[], listed: string[]): string[] {
  const last = listed.findLastIndex((id) => found.includes(id));
  return last < 0 ? [] : listed.slice(last + 1);
}

function Skeleton() {
  return (
    <div class="list" aria-label="Loading" role="img">
      {[1, 2, 3].map((key) => (
        <div key={key} class="card skeleton" />
      ))}
    </div>
  );
}
