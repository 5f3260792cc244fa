// graphql-eslint's own rules for schemas, those of Relay included, over schema.graphql. What is off says why.
import { readFileSync } from 'node:fs'
import graphqlPlugin from '@graphql-eslint/eslint-plugin'

const schema = readFileSync(new URL('../../../schema.graphql', import.meta.url), 'utf8')

export default [
  {
    files: ['**/*.graphql'],
    plugins: { '@graphql-eslint': graphqlPlugin },
    languageOptions: {
      parser: graphqlPlugin.parser,
      parserOptions: { graphQLConfig: { schema } },
    },
    rules: {
      ...graphqlPlugin.configs['flat/schema-recommended'].rules,
      ...graphqlPlugin.configs['flat/schema-relay'].rules,
      '@graphql-eslint/require-description': [
        'error',
        {
          types: true,
          FieldDefinition: true,
          InputValueDefinition: true,
          EnumValueDefinition: true,
          DirectiveDefinition: true,
          // The one argument of `@cost`, and that of `@requires`, is told in the description of the directive.
          ignoredSelectors: ['weight', 'scope'].map((name) => `[type=InputValueDefinition][name.value=${name}]`),
        },
      ],
      // Values, pages and outcomes are no things of their own: only what `node` can fetch again has an `id`.
      '@graphql-eslint/strict-id-in-types': 'off',
      // `Product.productName` is the name of the CSV's column, and of the first design.
      '@graphql-eslint/no-typename-prefix': 'off',
      // Edges are as Relay wants them; only that no other list may exist is not: a row's few addresses, or the path
      // to a field, are read as a whole.
      '@graphql-eslint/relay-edge-types': [
        'error',
        { withEdgeSuffix: true, shouldImplementNode: true, listTypeCanWrapOnlyEdgeType: false },
      ],
    },
  },
]
