// EventSource, as browsers have it: events by GET.
import { EventSource } from "eventsource";

export default (url) => ({
  subscribe: (query, variables, operationName, next) =>
    new Promise((complete, refuse) => {
      const parameters = new URLSearchParams({ query, operationName, variables: JSON.stringify(variables) });
      const source = new EventSource(`${url}?${parameters}`);
      source.addEventListener("next", (event) => next(JSON.parse(event.data)));
      source.addEventListener("complete", () => {
        source.close();
        complete();
      });
      source.onerror = (event) => {
        source.close();
        refuse(new Error(event.message));
      };
    }),
});
