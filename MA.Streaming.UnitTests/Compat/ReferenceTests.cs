using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

/// <summary>What was compiled against the genuine packages binds to whatever lies in this folder.</summary>
public sealed class ReferenceTests
{
    private static readonly string[] Targets = ["Grpc.Core.Api", "Grpc.Net.Common"];

    // Stand for the type parameters of whatever type or method a reference is used in.
    private static readonly Type[] TypeArguments = [.. Enumerable.Repeat(typeof(object), 8)];

    [TestCase("Grpc.Net.Client")]
    [TestCase("Grpc.AspNetCore.Server")]
    [TestCase("MA.Streaming.Proto")]
    public void References_IntoTheTwoAssemblies_AllResolve(string user)
    {
        var path = Path.Combine(TestContext.CurrentContext.TestDirectory, user + ".dll");
        var module = Assembly.LoadFrom(path).ManifestModule;
        using var image = new PEReader(File.OpenRead(path));
        var metadata = image.GetMetadataReader();
        var failures = new List<string>();

        int Count<T>(IEnumerable<T> handles, Func<T, EntityHandle> handleOf, Func<int, Type?> resolve)
        {
            var count = 0;
            foreach (var handle in handles.Select(handleOf).Where(handle => IsInto(metadata, handle)))
            {
                try
                {
                    var type = resolve(MetadataTokens.GetToken(handle));
                    Assert.That(Targets, Does.Contain(type?.Assembly.GetName().Name));
                    count++;
                }
                catch (Exception exception) when (exception is TypeLoadException or MissingMemberException or IOException)
                {
                    failures.Add(exception.Message);
                }
            }

            return count;
        }

        var types = Count(metadata.TypeReferences, handle => handle, token => module.ResolveType(token));
        var members = Count(
            metadata.MemberReferences,
            handle => handle,
            token => module.ResolveMember(token, TypeArguments, TypeArguments)?.DeclaringType);

        Assert.That(failures, Is.Empty);
        Assert.That(types, Is.AtLeast(30));
        Assert.That(members, Is.AtLeast(60));
    }

    /// <summary>Loading a type makes the runtime look for every virtual it overrides and every interface member it implements.</summary>
    [TestCase("Grpc.Net.Client")]
    [TestCase("Grpc.AspNetCore.Server")]
    [TestCase("MA.Streaming.Proto")]
    public void Types_OfAUser_AllLoad(string user)
    {
        Assert.That(Assembly.Load(user).GetTypes, Has.Length.GreaterThan(30));
    }

    private static bool IsInto(MetadataReader metadata, EntityHandle handle) => handle.Kind switch
    {
        HandleKind.AssemblyReference =>
            Targets.Contains(metadata.GetString(metadata.GetAssemblyReference((AssemblyReferenceHandle)handle).Name)),
        HandleKind.TypeReference => IsInto(metadata, metadata.GetTypeReference((TypeReferenceHandle)handle).ResolutionScope),
        HandleKind.MemberReference => IsInto(metadata, metadata.GetMemberReference((MemberReferenceHandle)handle).Parent),
        HandleKind.TypeSpecification => GenericTypeOf(metadata, (TypeSpecificationHandle)handle) is { IsNil: false } type && IsInto(metadata, type),
        _ => false,
    };

    /// <summary>The generic type that a specification is an instance of; nil for arrays and type parameters.</summary>
    private static EntityHandle GenericTypeOf(MetadataReader metadata, TypeSpecificationHandle handle)
    {
        var signature = metadata.GetBlobReader(metadata.GetTypeSpecification(handle).Signature);
        if (signature.ReadSignatureTypeCode() != SignatureTypeCode.GenericTypeInstance)
            return default;
        _ = signature.ReadCompressedInteger();
        return signature.ReadTypeHandle();
    }
}
