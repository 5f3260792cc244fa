import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

// GraphiQL comes as ready-made browser files: bundling it again would take longer and gain nothing.
const ready = {
  "react.js": "react/umd/react.production.min.js",
  "react-dom.js": "react-dom/umd/react-dom.production.min.js",
  "graphiql.js": "graphiql/graphiql.min.js",
  "graphiql.css": "graphiql/graphiql.min.css",
};

function copyGraphiql(): Plugin {
  return {
    name: "copy-graphiql",
    generateBundle() {
      for (const [name, path] of Object.entries(ready)) {
        // The source maps stay behind (6 MB), so nothing may point to them.
        const source = readFileSync(new URL(`node_modules/${path}`, import.meta.url), "utf8").replace(/\n\/[/*]# sourceMappingURL=.*/g, "\n");
        this.emitFile({ type: "asset", fileName: `graphiql/${name}`, source });
      }
    },
  };
}

export default defineConfig({
  base: "/static/",
  plugins: [copyGraphiql()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    // The content security policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ["index.html", "graphiql.html"] },
  },
  server: {
    proxy: {
      "/graphql": { target: "http://127.0.0.1:8000", ws: true },
      "/api": "http://127.0.0.1:8000",
    },
  },
});
